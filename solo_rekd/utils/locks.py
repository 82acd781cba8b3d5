"""What one process at a time works in or at."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import missing_folders, remove_empty
from solo_rekd.utils.patience import BEAT, PATIENCE

_log = logging.getLogger("solo_rekd")

LOCK = ".lock"  # the file of a folder that is locked
# seconds in which the processes that a killed command started end and release its lock: `end_with`
HANDOVER = 5.0
POLL = 0.1  # seconds


@contextmanager
def locked(out: Path, work: str) -> Iterator[int]:
    """Locks the folder `out` for this process, and yields the lock's descriptor.

    If an error ends the work before it has written anything, the folder is as it was before.

    Args:
        out: the folder; it is created if it is missing.
        work: name of the work that is done there, for the message.

    Raises:
        UserError: another process has locked it, or the folder cannot be written.
    """
    made = missing_folders(out)
    known = (out / LOCK).exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + HANDOVER
        while not _take(file.fileno()):
            if time.monotonic() > deadline:
                raise UserError(f"another {work} is running in {out}")
            time.sleep(POLL)
        try:
            yield file.fileno()
        except BaseException:
            if not known and [path.name for path in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
                remove_empty(made)
            raise


def _take(file: int) -> bool:
    """Takes the lock of a file unless another process has it, and returns whether it did."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(path: Path, work: str) -> Iterator[None]:
    """Keeps the other processes that come here waiting, as long as this one gives signs of life.

    They are the time of the lock's last change. One that waits goes on when they stop: the work has
    to be such that two may do it, as they do on a file system without locks.

    Args:
        path: of the lock.
        work: what is done, as in "another process decodes the images".
    """
    with path.open("w") as file:
        taken = True
        with suppress(OSError):
            taken = _take(file.fileno())
        if not taken:
            _log.info("another process %s: waiting for it", work)
            _wait(file, path, work)
        done = threading.Event()
        beats = threading.Thread(target=_beat, args=(path, done), daemon=True)
        beats.start()
        try:
            yield
        finally:
            done.set()
            beats.join()


def _wait(file: IO[Any], path: Path, work: str) -> None:
    state, since = None, time.monotonic()
    while time.monotonic() - since < PATIENCE:
        if _take(file.fileno()):
            return
        now = os.fstat(file.fileno()).st_mtime_ns
        if now != state:
            state, since = now, time.monotonic()
        time.sleep(BEAT / 4)
    _log.warning("the process that %s gives no sign of life: this one does it too", work)


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):
            os.utime(path)
