"""Reads a weights file as untrusted input, without ever running code from it."""

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from solo_rekd.checkpoints.pickled.archive import read_archive
from solo_rekd.checkpoints.pickled.bounds import holds_tensor
from solo_rekd.checkpoints.pickled.errors import DAMAGED, Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign, printable
from solo_rekd.checkpoints.pickled.legacy import read_legacy
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import sha256

# the first bytes of other files, and what they are
OTHERS = {
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive: unpack it first",
    b"\x89HDF": "an HDF5 file: save its arrays as .safetensors",
    b"\x93NUMPY": "an array of numpy: save it as .safetensors",
    b"GGUF": "a GGUF file: use the weights that it was made from",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself (git lfs pull)",
    b"<": "a web page: download the file again",
}
TAR = "a tar archive: unpack it first; one that torch 0.1 wrote has to be saved again by that torch"
TAR_SIGN = slice(257, 262)
START = 512  # first bytes, which identify a file
LARGEST_HEADER = 100_000_000  # bytes of a safetensors header


@dataclass(frozen=True)
class Read:
    """The content of a file.

    Attributes:
        content: the dictionary, of tensors on the CPU and plain containers. Objects of other
            classes become inactive placeholders (`Inert`).
        sha256: SHA-256 of the file, in hexadecimal.
        kind: `zip` or `legacy`, from `torch.save`, or `safetensors`.
        inert: full names of the functions and classes that the file refers to and that torch's own
            safe unpickler would refuse; none of them was called.
        metadata: texts in the header of safetensors.
    """

    content: dict[str, Any]
    sha256: str
    kind: str
    inert: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether a host's script, which uses `torch.load`, can read the file too."""
        return self.kind != "safetensors" and not self.inert


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], str]:
    """Reads a file of safetensors or `torch.save`, whatever its name, onto the CPU.

    Args:
        path: the file.

    Returns:
        The dictionary that the file holds, and the SHA-256 of the file in hexadecimal.

    Raises:
        UserError: see `read_file`.
    """
    read = read_file(path)
    return read.content, read.sha256


def read_complete(path: str | Path) -> dict[str, Any]:
    """Reads a run's checkpoint to resume or evaluate it, without placeholders.

    Args:
        path: the file.

    Returns:
        The content of the file.

    Raises:
        UserError: see `read_file`; or the file refers to foreign functions or classes.
    """
    read = read_file(path)
    if read.inert:
        raise UserError(
            f"checkpoint {path} holds pickled code ({read.inert[0]}), which no run of solo-rekd "
            "writes: it cannot be resumed or evaluated as a run; export its weights first"
        )
    return read.content


def read_file(path: str | Path) -> Read:
    """Reads a file as `read_checkpoint` does, and returns what kind of file it was.

    Args:
        path: the file.

    Returns:
        The content of the file.

    Raises:
        UserError: the file is missing, not a checkpoint, truncated or damaged, or holds no
            dictionary of tensors that can be read without running its code.
    """
    path = Path(path)
    try:
        _refuse_special(path)
        with path.open("rb") as file:
            kind = _kind(file, path)
            if kind == "safetensors":
                return _read_safetensors(path)
            content, foreign = _read_torch(file, kind)
            return Read(content, sha256(path), kind, tuple(foreign))
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist") from error
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
    except Unreadable as error:
        raise UserError(f"checkpoint {path} {error}") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, by its first bytes; False if it cannot be read."""
    try:
        _refuse_special(path)
        with path.open("rb") as file:
            return _kind(file, path) == "safetensors"
    except (OSError, Unreadable):
        return False


def _refuse_special(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a zero byte in the name
        raise Unreadable("does not exist") from error
    if stat.S_ISDIR(mode):
        if (path / ".metadata").is_file():
            raise Unreadable(
                "is a folder of a distributed checkpoint: convert it to one file first, by "
                "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
            )
        raise Unreadable("is a directory: give the file itself")
    if not stat.S_ISREG(mode):  # a pipe or a device may never end
        raise Unreadable("is not a regular file: give a file on a disk")


def _kind(file: IO[bytes], path: Path) -> str:
    start = file.read(START)
    size = file.seek(0, 2)
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header <= min(size - 8, LARGEST_HEADER):
        return "safetensors"
    if start.startswith(b"PK"):
        return "zip"
    if start.startswith(b"\x80"):
        return "legacy"
    if path.suffix == ".safetensors":
        return "safetensors"  # its library reports what is wrong
    if not start:
        raise Unreadable("is empty")
    if start[TAR_SIGN] == b"ustar":
        raise Unreadable(f"is not a checkpoint but {TAR}")
    for sign, what in OTHERS.items():
        if start.startswith(sign):
            raise Unreadable(f"is not a checkpoint but {what}")
    raise Unreadable("is not a checkpoint: neither a file of torch.save nor .safetensors")


def _read_safetensors(path: Path) -> Read:
    try:
        with safe_open(path, "pt") as file:
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise Unreadable(f"is truncated or not safetensors: {printable(str(error))}") from error
    return Read(content, sha256(path), "safetensors", metadata=metadata)


def _read_torch(file: IO[bytes], kind: str) -> tuple[dict[str, Any], dict[str, None]]:
    file.seek(0)
    try:
        content, foreign = read_archive(file) if kind == "zip" else read_legacy(file)
    except ValueError as error:  # raised by pickletools, about an opcode or its argument
        raise Unreadable(DAMAGED) from error
    if isinstance(content, Foreign) or (not holds_tensor(content) and foreign):
        name = content.name if isinstance(content, Foreign) else next(iter(foreign))
        raise Unreadable(
            f"holds a pickled object ({name}), not weights: loading it would run its code, so it "
            "is refused: if you trust it, load it with its own program and save its state_dict() "
            "as .safetensors"
        )
    if not isinstance(content, dict):
        raise Unreadable(f"holds a {type(content).__name__}, not a dictionary")
    return content, foreign
