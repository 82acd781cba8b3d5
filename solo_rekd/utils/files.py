"""Files that are written whole or not at all, and how they are read."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from solo_rekd.utils.errors import UserError, refuse

BLOCK = 1 << 20  # bytes that are read at once
UNFINISHED = ".unfinished"  # ends the name of every file and folder that is being written


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Gives a path beside `path`, and puts what was written there in its place at the end.

    Two that write one file at once do not see each other's: the last to end has its file there.

    Args:
        path: the file to write or to replace; it stays as it was where the block raises.
        sync: whether the content is to be on the disk first, for else a power cut may leave the
            name without it; a network's disk may take its time.
    """
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        yield unfinished
        if sync:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_absent(key: str, path: str | Path | None) -> None:
    """Raises a UserError for a file of a setting that is not there; None: none is set."""
    if path is not None and not Path(path).exists():
        raise refuse(key, str(path), "a file that exists")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Names the file or folder that the system does not let a block read, and the system's reason.

    Raises:
        UserError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content in hexadecimal digits; a gigabyte takes about a second."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def user_cache() -> Path:
    """The folder of this project in the user's folder for caches.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solo-rekd"


def write_json(path: Path, content: Any, sync: bool = True) -> None:
    """Writes `content` as indented JSON, whole or not at all; `sync` as in `replacing`."""
    with replacing(path, sync) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a file that may not be there yet."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json_lines(path: Path, lines: Iterable[Any]) -> None:
    """Writes a line of JSON for each of `lines`, all or none."""
    with replacing(path) as unfinished:
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_json_lines(path: Path) -> list[Any]:
    """Reads what `write_json_lines` wrote; without the file there are none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
