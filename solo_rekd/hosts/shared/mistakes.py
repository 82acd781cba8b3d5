"""Turns failures inside a host or its Lightning that are the user's mistakes into UserErrors."""

import errno
import re
import traceback
from pathlib import Path

from solo_rekd.utils.errors import UserError, refuse

# errors of a path that the user gave, not of the program
PLACES = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a write that meets a full disk names no file
# MemoryError, of which NumPy has a subclass; torch's class for GPUs; its messages for the rest
NO_MEMORY = ("MemoryError", "OutOfMemoryError")
NOT_ALLOCATED = "can't allocate memory", "Storage size calculation overflowed"
HOW_MUCH = re.compile(r"(?<=to allocate )[\d.]+ \w+")
SMALLER = "a smaller batch_size, crop_size, queue_size or network, or precision bf16"
# a process of a loader that the system has ended
LOST_WORKER = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)")
FEWER = "fewer num_workers, or more memory; a container's shared memory is set by --shm-size"
# messages of torch and torchvision, the only way to recognise these errors
NO_FILES = "Found no valid file for the classes"
ONE_VALUE = "Expected more than 1 value per channel when training"
# the file of either Lightning's trainer
TRAINERS = (("pytorch", "trainer", "trainer.py"), ("pytorch_lightning", "trainer", "trainer.py"))
MISCONFIGURED = "MisconfigurationException"  # Lightning's error for an invalid setting
# torch's, where --compile meets what it cannot translate here
UNCOMPILED = ("BackendCompilerFailed", "InductorError")
MAY_REFUSE = ("ValueError", "TypeError")  # where its trainer reads them


def as_mistake(error: BaseException) -> UserError | None:
    """Turns an exception of a run into a UserError, if it is a known mistake.

    Args:
        error: exception that ended the run.

    Returns:
        The UserError, with `error` as its cause unless it is one itself; None for other errors.
    """
    if isinstance(error, UserError):
        return error
    mistake = _read(error)
    if mistake is not None:
        mistake.__cause__ = error
    return mistake


def _read(error: BaseException) -> UserError | None:
    if isinstance(error, OSError) and error.filename is not None and error.errno in PLACES + FULL:
        return UserError(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in FULL:
        return UserError(f"a file cannot be written: {error.strerror}")
    if isinstance(error, FileNotFoundError) and str(error).startswith(NO_FILES):
        return UserError(str(error))
    if isinstance(error, ValueError) and str(error).startswith(ONE_VALUE):
        allowed = "at least 2 on every device: BatchNorm needs more than one value per channel"
        return refuse("batch_size", 1, allowed)
    if isinstance(error, RuntimeError) and LOST_WORKER.search(str(error)):
        return UserError(f"the system ended a process that loads images: give {FEWER}")
    if _lacks_memory(error):
        size = HOW_MUCH.search(str(error))
        return UserError(f"out of memory{f' for {size[0]}' if size else ''}: give {SMALLER}")
    kind = type(error).__name__
    if kind in UNCOMPILED:
        return UserError(f"torch cannot compile the networks here: leave compile out ({error})")
    if kind == MISCONFIGURED or (kind in MAY_REFUSE and _from_trainer(error)):
        return UserError(f"Lightning's trainer refuses a setting: {error}")
    return None


def _lacks_memory(error: BaseException) -> bool:
    """Whether `error` is of an allocation that failed."""
    if any(kind.__name__ in NO_MEMORY for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in NOT_ALLOCATED)


def _from_trainer(error: BaseException) -> bool:
    """Whether `error` arose while Lightning's trainer read its settings."""
    return any(
        frame.f_code.co_name == "__init__" and Path(frame.f_code.co_filename).parts[-3:] in TRAINERS
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
