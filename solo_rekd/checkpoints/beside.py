"""JSON files beside a checkpoint, which are as untrusted as the checkpoint itself."""

from pathlib import Path
from typing import Any

from solo_rekd.utils.files import read_json

CONFIG = "config.json"  # of timm and of Hugging Face
LARGEST = 2**20  # bytes; such a file has a few thousand


def read_beside(path: Path, name: str) -> dict[str, Any]:
    """Reads a JSON file beside a checkpoint, or in its folder.

    Args:
        path: path of the checkpoint, a file or a folder.
        name: name of the file beside it.

    Returns:
        The object in the file; empty if the file is missing or holds no object.
    """
    file = (path if path.is_dir() else path.parent) / name
    try:
        # a pipe would never end
        held = read_json(file) if file.is_file() and file.stat().st_size <= LARGEST else None
    except (OSError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
