"""What a checkpoint tells of the run that wrote it, so that no file beside it has to be there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solo_rekd import __version__
from solo_rekd.checkpoints.beside import read_beside
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.utils.errors import UserError

KEY = "solo_rekd"  # of a checkpoint: our record; of a run's settings: what we add to them


def make_record(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the record of a run of ours.

    Args:
        settings: all settings of the run, by the host's names; see `plain`.

    Returns:
        version of the plug-in, method (None in a linear evaluation) and settings.
    """
    told = plain(settings)
    return {"version": __version__, "method": told.get("method"), "settings": told}


def record_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The record in a checkpoint's content, empty where it has none that is one."""
    record = checkpoint.get(KEY)
    return record if isinstance(record, dict) else {}


def read_settings(path: Path) -> dict[str, Any]:
    """Reads the settings of the run that wrote a checkpoint.

    Args:
        path: the checkpoint.

    Returns:
        The settings by the host's names, from the checkpoint itself or, where an older one has
        none, from `args.json` beside it; empty where neither has any.
    """
    try:
        checkpoint, _ = read_checkpoint(path)
    except UserError:
        checkpoint = {}  # whoever needs the weights refuses the file
    return settings_of(checkpoint, path)


def settings_of(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The same of a checkpoint that has been read: `checkpoint` is its content, `path` the file."""
    settings = record_of(checkpoint).get("settings")
    return settings if isinstance(settings, dict) else read_beside(path, "args.json")


def plain(value: Any) -> Any:
    """Makes of a setting what JSON can hold; a value of another kind becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
