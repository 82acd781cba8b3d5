"""Reading a file of weights as what it is: untrusted input, from which nothing is ever run."""

import argparse
import pickle
import re
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import sha256


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], str]:
    """Reads a `.safetensors` file, or else a file of `torch.save`, onto the CPU.

    Args:
        path: the file.

    Returns:
        The dictionary that the file holds, and the SHA-256 of the file in hexadecimal.

    Raises:
        UserError: the file is missing, is no checkpoint, is truncated or holds pickled code.
    """
    path = Path(path)
    digest = _sha256(path)
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(raw, dict):
        raise UserError(f"checkpoint {path} holds a {type(raw).__name__}, not a dictionary")
    return raw, digest


def _sha256(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"checkpoint {path} is a directory: give the file itself")
    try:
        return sha256(path)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist") from error
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"checkpoint {path} is truncated or not safetensors: {error}") from error


def _read_torch(path: Path) -> Any:
    # Training scripts save their arguments along; a Namespace only ever holds attributes.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch's own use of it
        # `_diagnose` says the same, and what to do
        warnings.filterwarnings("ignore", ".*looks like a TorchScript archive")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (ImportError, MemoryError):
            raise
        # A damaged file makes torch raise nearly any type: the file itself tells what is wrong.
        except Exception as error:
            if isinstance(error, AttributeError) and not _raised_by_torch(error):
                raise
            raise UserError(f"checkpoint {path} {_diagnose(path, error)}") from error


def _raised_by_torch(error: Exception) -> bool:
    """Whether `error` arose inside torch, where a damaged pickle can cause any error."""
    *_, last = traceback.walk_tb(error.__traceback__)
    return Path(torch.__file__).parent in Path(last[0].f_code.co_filename).parents


def _diagnose(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        return "is empty"
    is_zip, is_pickle = start == b"PK", start[:1] == pickle.PROTO
    if not (is_zip or is_pickle):
        return "is not a checkpoint: neither a file of torch.save nor .safetensors"
    if is_zip and not zipfile.is_zipfile(path):
        return "is truncated or damaged"
    if "TorchScript" in str(error):
        return "is a TorchScript program, not weights: save its state_dict() as safetensors"
    if isinstance(error, pickle.UnpicklingError):
        culprit = re.search(r"GLOBAL (\S+)", str(error))
        return (
            f"holds pickled code{f' ({culprit[1]})' if culprit else ''} that would run on loading, "
            "so it is not loaded: where you trust it, re-save its state_dict as .safetensors"
        )
    if "magic number" in str(error) or "not in a subdirectory" in str(error):
        return "is not a checkpoint: torch.save did not write it"
    return "is truncated or damaged"
