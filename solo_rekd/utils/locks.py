"""A folder that one process at a time works in."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solo_rekd.utils.errors import UserError

LOCK = ".lock"  # the file of a folder that is locked


@contextmanager
def locked(out: Path, work: str) -> Iterator[int]:
    """Locks the folder `out` for this process, and yields the lock's descriptor.

    Args:
        out: the folder; it is created if it is missing.
        work: name of the work that is done there, for the message.

    Raises:
        UserError: another process has locked it, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another {work} is running in {out}") from error
        yield file.fileno()
