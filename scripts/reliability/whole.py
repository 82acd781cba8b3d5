"""Which files of a run's folder are torn: each that has its final name must be readable."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.utils.errors import UserError

HOSTS_OWN = ("args.json", "hparams.yaml")  # the host writes it in place, and nothing reads it


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive of NumPy."""
    with np.load(path) as held:
        return {name: held[name] for name in held.files}


def read_network(path: Path) -> bytes:
    """A network of ONNX without its facts, one of which is the digest of its checkpoint."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


READERS: dict[str, Callable[[Path], object]] = {
    ".ckpt": read_complete,
    ".safetensors": read_complete,
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    ".npz": read_arrays,
    ".onnx": read_network,
}


def find_torn(folder: Path) -> list[str]:
    """Reads every file that has its final name.

    Args:
        folder: of a run or of a comparison.

    Returns:
        The files that cannot be read, each with the reason.
    """
    torn = []
    for path in sorted(folder.rglob("*")):
        reader = READERS.get(path.suffix)
        if reader is None or path.name in HOSTS_OWN or not path.is_file():
            continue
        try:
            reader(path)
        except (UserError, ValueError, EOFError, zipfile.BadZipFile) as error:
            torn.append(f"{path.relative_to(folder)}: {error}")
    return torn
