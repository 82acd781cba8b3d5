"""Reads and writes files; a written file is complete or absent."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from solo_rekd.utils.errors import UserError, refuse

BLOCK = 1 << 20  # bytes to read at a time
UNFINISHED = ".unfinished"  # suffix of every file and folder that is being written


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and moves what was written there to `path` at the end.

    Two processes that write the same file do not mix their content: the last to finish wins.

    Args:
        path: file to write or replace; it is unchanged if the block raises.
        sync: whether to flush the content to the disk first, as a power cut may otherwise leave an
            empty file; this can be slow on a network disk.
    """
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        yield unfinished
        if sync:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write, which meets a full disk, names none
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path, below: bool = True) -> None:
    """Removes what a killed process was writing in a folder, where no process writes now.

    Args:
        folder: the folder.
        below: whether the folders in it are looked through, too.
    """
    for path in folder.glob(f"{'**/' if below else ''}*{UNFINISHED}"):
        path.unlink()


def missing_folders(path: Path) -> list[Path]:
    """Lists a folder and those around it that do not exist, an inner one before its outer one."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes folders, an inner one before the one around it, up to one that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def refuse_absent(key: str, path: str | Path | None) -> None:
    """Raises a UserError for a file of a setting that is not there; None: none is set."""
    if path is not None and not Path(path).exists():
        raise refuse(key, str(path), "a file that exists")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turns an OSError in the block into a UserError that names the file and the reason.

    Raises:
        UserError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal; a gigabyte takes about a second."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def user_cache() -> Path:
    """Returns the folder of this project in the user's cache folder.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solo-rekd"


def write_json(path: Path, content: Any, sync: bool = True) -> None:
    """Writes `content` as indented JSON, completely or not at all; `sync` is as in `replacing`."""
    with replacing(path, sync) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON file; None if it does not exist yet."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json_lines(path: Path, lines: Iterable[Any]) -> None:
    """Writes one line of JSON for each of `lines`, all or none."""
    with replacing(path) as unfinished:
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_json_lines(path: Path) -> list[Any]:
    """Reads what `write_json_lines` wrote; empty if the file does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
