"""A folder that one process at a time works in."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solo_rekd.utils.errors import UserError

LOCK = ".lock"  # the file of a folder that is locked


@contextmanager
def locked(out: Path, work: str) -> Iterator[int]:
    """Makes the folder `out` this process's own, and gives the lock's descriptor.

    Where an error ends the work before anything lies there, the folder is as it was before.

    Args:
        out: the folder, which is made where it is missing.
        work: what is done there, for the message.

    Raises:
        UserError: another process is at work there, or the folder cannot be written.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    known = (out / LOCK).exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another {work} is at work in {out}") from error
        try:
            yield file.fileno()
        except BaseException:
            if not known and [path.name for path in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
                for folder in made:
                    folder.rmdir()
            raise
