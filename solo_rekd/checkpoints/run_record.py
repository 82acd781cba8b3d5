"""The record of a run in its checkpoints, so that no file beside them is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solo_rekd import __version__
from solo_rekd.checkpoints.beside import read_beside
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.utils.errors import UserError

KEY = "solo_rekd"  # key of our record in a checkpoint, and of our additions to a run's settings


def make_record(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the record of a run of ours.

    Args:
        settings: all settings of the run, by the host's names; see `plain`.

    Returns:
        The version of the plug-in, method (None in a linear evaluation) and settings.
    """
    told = plain(settings)
    return {"version": __version__, "method": told.get("method"), "settings": told}


def record_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record in a checkpoint's content; empty if it has no valid one."""
    record = checkpoint.get(KEY)
    return record if isinstance(record, dict) else {}


def read_settings(path: Path) -> dict[str, Any]:
    """Reads the settings of the run that wrote a checkpoint.

    Args:
        path: the checkpoint.

    Returns:
        The settings by the host's names, from the checkpoint itself or, for an older one, from
        `args.json` beside it; empty where neither has them.
    """
    try:
        checkpoint, _ = read_checkpoint(path)
    except UserError:
        checkpoint = {}  # whoever needs the weights refuses the file
    return settings_of(checkpoint, path)


def settings_of(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the settings of a checkpoint that has been read from `path`; see `read_settings`."""
    settings = record_of(checkpoint).get("settings")
    return settings if isinstance(settings, dict) else read_beside(path, "args.json")


def plain(value: Any) -> Any:
    """Converts a setting to what JSON can hold; values of other types become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
