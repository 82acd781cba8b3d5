"""Files that are written whole or not at all, and how they are read."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from solo_rekd.errors import UserError


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Gives a path beside `path`, and puts what was written there in its place at the end.

    Args:
        path: the file to write or to replace; it stays as it was where the block raises.
        sync: whether the content is to be on the disk first, for else a power cut may leave the
            name without it; a network's disk may take its time.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        yield unfinished
        if sync:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Names the image that a block could not decode, which its decoder often does not.

    Raises:
        UserError: the block could not.
    """
    try:
        yield
    # of a damaged file Pillow raises any of these
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be decoded: {error}") from error


def digest_files(paths: Iterable[str], *facts: str, root: str | Path | None = None) -> str:
    """SHA-256 of the names of files and of facts of their status, such as `st_size`.

    Args:
        paths: the files.
        facts: names of the facts.
        root: what the names are relative to; None: they are the paths as given.

    Raises:
        UserError: a file cannot be looked at.
    """
    digest = hashlib.sha256()
    for path in paths:
        with decoding(path):
            status = os.stat(path)
        told = "".join(f"\0{getattr(status, fact)}" for fact in facts)
        name = os.path.relpath(path, root) if root is not None else path
        digest.update(f"{name}{told}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


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
