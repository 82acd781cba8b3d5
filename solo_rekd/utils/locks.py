"""A folder that one process at a time works in."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solo_rekd.utils.errors import UserError

LOCK = ".lock"  # the file of a folder that is locked
# seconds for the processes of a work that was killed to end, which hold its lock: see `end_with`
PATIENCE = 5.0
POLL = 0.1  # seconds


@contextmanager
def locked(out: Path, work: str) -> Iterator[int]:
    """Makes the folder `out` this process's own, and gives the lock's descriptor.

    Args:
        out: the folder, which is made where it is missing.
        work: what is done there, for the message.

    Raises:
        UserError: another process is at work there, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + PATIENCE
        while not _is_taken(file.fileno()):
            if time.monotonic() > deadline:
                raise UserError(f"another {work} is at work in {out}")
            time.sleep(POLL)
        yield file.fileno()


def _is_taken(file: int) -> bool:
    """Takes the lock of a file, unless another process has it; says whether it did."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
