"""The zip that `torch.save` writes since torch 1.6: a pickle, and a member for each storage."""

import io
import struct
import sys
import zipfile
import zlib
from typing import IO, Any

import torch

from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.machine import Machine
from solo_rekd.checkpoints.pickled.source import Source, fill
from solo_rekd.checkpoints.pickled.tensors import Budget, Storage, StorageType

PICKLE = "data.pkl"
TORCHSCRIPT = ("constants.pkl", "code/")
ENCRYPTED = 1  # bit of a member's flags
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, and of what follows it


def read_archive(file: IO[bytes]) -> tuple[Any, dict[str, None]]:
    """Reads a zip.

    Args:
        file: the file.

    Returns:
        Its content, and the foreign names in it.

    Raises:
        Unreadable: it is damaged, or not a checkpoint.
    """
    try:
        members = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, OverflowError) as error:
        raise Unreadable from error
    if len({member.filename for member in members}) < len(members):
        raise Unreadable  # readers would not agree on which is meant
    archive = _Archive(file, members)
    machine = Machine(Source(io.BytesIO(archive.take(PICKLE))), archive.storage)
    return machine.run(), machine.foreign


class _Archive:
    """The members of a checkpoint."""

    def __init__(self, file: IO[bytes], members: list[zipfile.ZipInfo]) -> None:
        names = [member.filename for member in members]
        pickles = [name for name in names if name.endswith(f"/{PICKLE}") and name.count("/") == 1]
        if len(pickles) != 1:
            raise Unreadable("is not a checkpoint: torch.save did not write it")
        self._folder = pickles[0].removesuffix(PICKLE)
        program = tuple(self._folder + sign for sign in TORCHSCRIPT)
        if any(name.startswith(program) for name in names):
            raise Unreadable(
                "is a TorchScript program, not weights: save its state_dict() as safetensors"
            )
        self._members = {member.filename: member for member in members}
        self._file = file
        self._size = file.seek(0, 2)
        if sum(member.file_size for member in members) > self._size:
            raise Unreadable  # members lie on one another
        self._budget = Budget(self._size)
        self._storages: dict[str, torch.UntypedStorage] = {}
        order = self.take("byteorder") if self._has("byteorder") else b"little"
        if order not in (b"little", b"big"):
            raise Unreadable
        self._is_foreign_order = order.decode() != sys.byteorder

    def _has(self, name: str) -> bool:
        return self._folder + name in self._members

    def take(self, name: str) -> bytes:
        """Returns the bytes of a member."""
        storage = self._load(name)
        return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()

    def _load(self, name: str) -> torch.UntypedStorage:
        if not self._has(name):
            raise Unreadable
        member = self._members[self._folder + name]
        if member.flag_bits & ENCRYPTED or member.compress_type != zipfile.ZIP_STORED:
            raise Unreadable(
                "is a compressed or encrypted zip, which torch.save does not write: unpack it and "
                "zip it again without compression (zip -0), or save the weights again"
            )
        self._file.seek(max(0, member.header_offset))
        header = self._file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or member.file_size != member.compress_size:
            raise Unreadable
        signature, name_size, extra_size = LOCAL_HEADER.unpack(header)
        start = self._file.seek(name_size + extra_size, 1)
        if signature != b"PK\x03\x04" or start + member.file_size > self._size:
            raise Unreadable
        storage = torch.UntypedStorage(member.file_size)
        content = fill(storage, self._file)
        # torch leaves the checksum 0 where it is asked to (set_crc32_options)
        if len(content) != member.file_size or member.CRC not in (0, zlib.crc32(content.data)):
            raise Unreadable
        return storage

    def storage(self, persistent_id: Any) -> Storage:
        """Returns the storage of an id: ("storage", type, key, device, number of elements)."""
        if not isinstance(persistent_id, tuple) or len(persistent_id) != 5:
            raise Unreadable
        sign, kind, key, _, elements = persistent_id
        if sign != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
            raise Unreadable
        if type(elements) is not int or elements < 0:
            raise Unreadable
        if key not in self._storages:
            data = self._load(f"data/{key}")
            if self._is_foreign_order:
                data.byteswap(kind.dtype)
            self._storages[key] = data
        data = self._storages[key]
        size = elements * kind.dtype.itemsize
        if size > data.nbytes():
            raise Unreadable
        return Storage(data, kind.dtype, 0, size, self._budget)
