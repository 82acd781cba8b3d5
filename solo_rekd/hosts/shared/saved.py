"""The checkpoints that a run left: which is the newest, and which are whole."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import UNFINISHED

_log = logging.getLogger("solo_rekd")

ENDING = ".ckpt"
CHECKPOINTS = "*/*/*-ep=*.ckpt"  # as the hosts name them: a method, a part of the training


def epoch_of(path: Path) -> int:
    """The epoch at whose end a host saved a checkpoint, from 0, by its name; -1 without one."""
    found = re.search(r"-ep=(\d+)\.ckpt$", path.name)
    return int(found[1]) if found else -1


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Sorts checkpoints of one run by their epoch, then by their time, whatever their order."""
    return sorted(paths, key=lambda path: (epoch_of(path), path.stat().st_mtime), reverse=True)


def newest_whole(paths: Iterable[Path]) -> Path | None:
    """The newest checkpoint that can be read; the log names those that are passed over.

    Args:
        paths: checkpoints of one run.
    """
    for path in newest_first(paths):
        try:
            read_complete(path)
        except UserError as error:
            _log.warning("skipped: %s", error)
        else:
            return path
    return None


def remove_others(folder: Path, kept: Path) -> None:
    """Removes the checkpoints of a run but one: of earlier parts, and what a kill left of one.

    Args:
        folder: that the host was given for its checkpoints.
        kept: the one that stays.
    """
    for path in (*folder.glob(CHECKPOINTS), *folder.glob(f"{CHECKPOINTS}.*{UNFINISHED}")):
        if path != kept:
            path.unlink()
