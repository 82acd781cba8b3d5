"""The failures inside a host or its Lightning that are mistakes of the user, in plain words."""

import errno
import traceback
from pathlib import Path

from solo_rekd.utils.errors import UserError, refuse

# what is wrong with a place that the user named, not with the program
PLACES = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EROFS, errno.ENOSPC),
)
# torch's and torchvision's words, the only sign of either
NO_FILES = "Found no valid file for the classes"
ONE_VALUE = "Expected more than 1 value per channel when training"
# the file of either Lightning's trainer
TRAINERS = (("pytorch", "trainer", "trainer.py"), ("pytorch_lightning", "trainer", "trainer.py"))
MISCONFIGURED = "MisconfigurationException"  # Lightning's word for a setting that cannot be
# torch's, where --compile meets what it cannot translate here
UNCOMPILED = ("BackendCompilerFailed", "InductorError")
MAY_REFUSE = ("ValueError", "TypeError")  # where its trainer reads them


def as_mistake(error: BaseException) -> UserError | None:
    """Reads an exception of a run as a mistake of the user, where it is a known one.

    Args:
        error: what ended the run.

    Returns:
        The mistake, with `error` as its cause unless it is one already; None for any other error.
    """
    if isinstance(error, UserError):
        return error
    mistake = _read(error)
    if mistake is not None:
        mistake.__cause__ = error
    return mistake


def _read(error: BaseException) -> UserError | None:
    if isinstance(error, OSError) and error.filename is not None and error.errno in PLACES:
        return UserError(f"{error.filename}: {error.strerror}")
    if isinstance(error, FileNotFoundError) and str(error).startswith(NO_FILES):
        return UserError(str(error))
    if isinstance(error, ValueError) and str(error).startswith(ONE_VALUE):
        allowed = "at least 2 on every device: BatchNorm needs more than one value per channel"
        return refuse("batch_size", 1, allowed)
    kind = type(error).__name__
    if kind in UNCOMPILED:
        return UserError(f"torch cannot compile the networks here: leave compile out ({error})")
    if kind == MISCONFIGURED or (kind in MAY_REFUSE and _from_trainer(error)):
        return UserError(f"Lightning's trainer refuses a setting: {error}")
    return None


def _from_trainer(error: BaseException) -> bool:
    """Whether `error` arose while Lightning's trainer read its settings."""
    return any(
        frame.f_code.co_name == "__init__" and Path(frame.f_code.co_filename).parts[-3:] in TRAINERS
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
