"""Files of JSON beside a checkpoint, which come from the same source and are trusted no more."""

from pathlib import Path
from typing import Any

from solo_rekd.utils.files import read_json

CONFIG = "config.json"  # of timm and of Hugging Face
LARGEST = 2**20  # bytes; such a file has a few thousand


def read_beside(path: Path, name: str) -> dict[str, Any]:
    """Reads a file of JSON beside a checkpoint, or in its folder.

    Args:
        path: of the checkpoint, a file or a folder.
        name: of the file beside it.

    Returns:
        The object that it holds; empty where there is none, or none that is one.
    """
    file = (path if path.is_dir() else path.parent) / name
    try:
        # a pipe would never end
        held = read_json(file) if file.is_file() and file.stat().st_size <= LARGEST else None
    except (OSError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
