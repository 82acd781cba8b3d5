"""The cache of a frozen teacher's outputs for the training images.

Each file belongs to one combination of everything that its content depends on. The tensors are
written row by row as they are computed, so that a data set need not fit in memory, and are memory-
mapped when they are read.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from solo_rekd.config import CHANNELS_LAST
from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.memory_format import is_channels_last
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.files import UNFINISHED, user_cache
from solo_rekd.utils.in_turn import first_process_first
from solo_rekd.utils.memory import available_memory
from solo_rekd.utils.versions import versions

_log = logging.getLogger("solo_rekd")

FORMAT = "3"  # of the cache; changing it makes old files unusable
PACKAGES = ("torch", "torchvision", "timm", "pillow")  # packages that affect pixels and features
ABANDONED = 3600  # seconds without a write, after which an unfinished file is abandoned
CODES = {torch.float16: "F16", torch.float32: "F32", torch.int32: "I32"}
CODES |= {torch.uint8: "U8"}  # safetensors' codes


class Table(NamedTuple):
    """The shape, with a row per image, and the type of one tensor in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the content in bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


Tables = Mapping[str, Table]
Put = Callable[[str, Tensor, Tensor], None]


class Wanted(NamedTuple):
    """Content to find in the cache.

    Attributes:
        name: name of the content in messages, a plural.
        depends_on: what it depends on besides the images and the teacher, by name.
        tables: its tensors.
        compute: computes them; it gets a function that takes the name of a tensor, the indexes of
            some images, and their rows.
        fits: checks whether tensors of the right shapes can be the content.
    """

    name: str
    depends_on: Mapping[str, str]
    tables: Tables
    compute: Callable[[Put], None]
    fits: Callable[[Mapping[str, Tensor]], bool] = lambda tensors: True


def find(
    wanted: Wanted, teacher: FrozenTeacher | None, stem: str, dataset: Any, folder: Path
) -> dict[str, Tensor]:
    """Reads tensors from the cache, or computes them and writes them there.

    With several processes the first one computes them and the others read its file; a process that
    cannot see that file, or has the images in another order, computes its own.

    Args:
        wanted: see `Wanted`.
        teacher: teacher that computes them; None: they depend only on the images.
        stem: value of the setting `teacher_stem`, which a checkpoint may not record.
        dataset: data set that lists the images, see `describe`.
        folder: folder of the cache.

    Returns:
        The tensors by name, on the CPU, memory-mapped from the file.

    Raises:
        UserError: the images cannot be identified, or neither disk nor memory has room.
    """
    with first_process_first():  # the first caches the digests of the images for the others
        key = describe(teacher, stem, dataset, wanted.depends_on)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = folder / f"{digest[:32]}.safetensors"
        tensors = read(path, key, wanted)
        if tensors is None:
            rows = Rows(path, key, wanted)
            try:
                wanted.compute(rows.put)
                tensors = rows.finish()
            finally:
                rows.close()
    return tensors


def cache_folder(given: str | None) -> Path:
    """Returns the folder of the cache: the given one, or `solo-rekd` in the user's cache folder."""
    if given is not None:
        return Path(given).expanduser()
    return user_cache() / "teachers"


def describe(
    teacher: FrozenTeacher | None, stem: str, dataset: Any, depends_on: Mapping[str, str]
) -> dict[str, str]:
    """Returns everything that the content depends on, without the path of the teacher's file.

    Args:
        teacher: teacher, whose whole identity counts; None: the content does not depend on one.
        stem: value of the setting `teacher_stem`.
        dataset: an image folder, CIFAR or STL-10 with its `transform`, perhaps in the attribute
            `dataset` of another one.
        depends_on: what is specific to the content.

    Raises:
        UserError: the images cannot be identified, or cannot be read.
    """
    listed = getattr(dataset, "dataset", dataset)
    if hasattr(listed, "h5_path"):
        raise UserError(
            "bags, teacher_view=image, drawn_views and rekd's relation_view=image need an image "
            "folder, CIFAR or STL-10: give the data as one, or relation_view=views"
        )
    return {
        "format": FORMAT,
        **depends_on,
        "data": fingerprint(listed),
        # a step without its own description is described by its address in memory
        "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(listed.transform)),
        **({} if teacher is None else _describe_teacher(teacher, stem)),
        **versions(PACKAGES),
    }


def _describe_teacher(teacher: FrozenTeacher, stem: str) -> dict[str, str]:
    identity = {name: value for name, value in teacher.identity.items() if name != "checkpoint"}
    return {
        "teacher": json.dumps(identity, sort_keys=True, default=str),
        "teacher_stem": stem,
        "dtype": str(teacher.precision or teacher.dtype),
        # rounding differs; without the key, files of earlier versions remain valid
        **({"memory_format": CHANNELS_LAST} if is_channels_last(teacher.backbones[0]) else {}),
        "device": teacher.device.type,
    }


def read(path: Path, key: Mapping[str, str], wanted: Wanted) -> dict[str, Tensor] | None:
    """Reads a file of the cache; None where it is missing or incomplete.

    Args:
        path: the file.
        key: see `describe`.
        wanted: content that it should hold.
    """
    try:
        with safe_open(path, "pt") as file:
            whole = file.metadata() == key
            tensors = {name: file.get_tensor(name) for name in wanted.tables}
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        _log.warning("%s in %s cannot be read and are computed again: %s", wanted.name, path, error)
        return None
    found = {name: Table(tuple(each.shape), each.dtype) for name, each in tensors.items()}
    if not (whole and found == dict(wanted.tables) and wanted.fits(tensors)):
        _log.warning("%s does not hold the %s: they are computed again", path, wanted.name)
        return None
    number = len(next(iter(tensors.values())))
    _log.info("%s among %d images from %s", wanted.name, number, path)
    return tensors


class Rows:
    """Rows of tensors, written to a file of the cache or, where that fails, kept in memory.

    Args:
        path: the file, which exists once `finish` has returned.
        key: see `describe`.
        wanted: content of the file.

    Attributes:
        memory: the tensors, where the file could not be written.
    """

    def __init__(self, path: Path, key: Mapping[str, str], wanted: Wanted) -> None:
        self.path, self.key, self.wanted = path, key, wanted
        self.memory: dict[str, Tensor] | None = None
        self._starts, header = _layout(wanted.tables, key)
        self._unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
        self._file: Any = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _drop_abandoned(path)
            self._file = self._unfinished.open("w+b", buffering=0)
            self._file.write(header)
            size = len(header) + sum(table.bytes for table in wanted.tables.values())
            if hasattr(os, "posix_fallocate"):  # so that a full disk fails before the work
                os.posix_fallocate(self._file.fileno(), 0, size)
            else:
                self._file.truncate(size)
        except OSError as error:
            self._turn_to_memory(error)

    def put(self, name: str, places: Tensor, rows: Tensor) -> None:
        """Writes the rows of some images.

        Args:
            name: name of the tensor.
            places: indexes of the images in the training set, shape (B,).
            rows: shape (B, ...), of any type.
        """
        rows = rows.to("cpu", self.wanted.tables[name].dtype)
        if self.memory is None:
            try:
                self._write(name, places, rows)
                return
            except OSError as error:
                self._turn_to_memory(error)
        assert self.memory is not None
        self.memory[name][places] = rows

    def finish(self) -> dict[str, Tensor]:
        """Moves the file into place, and returns the tensors."""
        if self.memory is None:
            try:
                os.fsync(self._file.fileno())
                os.replace(self._unfinished, self.path)
                with safe_open(self.path, "pt") as file:
                    tensors = {name: file.get_tensor(name) for name in self.wanted.tables}
                _log.info("%s kept in %s", self.wanted.name, self.path)
                return tensors
            except (OSError, SafetensorError) as error:
                self._turn_to_memory(error)
        assert self.memory is not None
        return self.memory

    def close(self) -> None:
        """Removes an unfinished file."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._unfinished.unlink(missing_ok=True)

    def _write(self, name: str, places: Tensor, rows: Tensor) -> None:
        size = rows[0].numel() * rows.element_size()
        content = rows.contiguous().numpy().data.cast("B")
        numbers = places.tolist()
        whole = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        blocks = [(numbers[0], content)] if whole else []
        if not whole:
            blocks = [(n, content[i * size : (i + 1) * size]) for i, n in enumerate(numbers)]
        for place, block in blocks:
            self._file.seek(self._starts[name] + place * size)
            while block:
                block = block[self._file.write(block) :]

    def _turn_to_memory(self, error: Exception) -> None:
        tables = self.wanted.tables
        needed, free = sum(table.bytes for table in tables.values()), available_memory()
        reason = getattr(error, "strerror", None) or error
        if free is not None and needed > free:
            self.close()
            allowed = (
                f"a folder with {needed / 1e9:.1f} GB of room: neither {self.path.parent} "
                f"({reason}) nor the memory has that"
            )
            raise refuse("teacher_cache", str(self.path.parent), allowed) from error
        _log.warning(
            "%s are not kept for the next run, see teacher_cache: %s", self.wanted.name, reason
        )
        memory = {name: torch.zeros(each.shape, dtype=each.dtype) for name, each in tables.items()}
        if self._file is not None:
            for name, tensor in memory.items():  # the rows written so far
                self._file.seek(self._starts[name])
                self._file.readinto(tensor.numpy().data.cast("B"))
        self.memory = memory
        self.close()


def _layout(tables: Tables, key: Mapping[str, str]) -> tuple[dict[str, int], bytes]:
    """Returns where each tensor begins in a safetensors file, and the file's header."""
    # the widest types come first, so that each begins at a multiple of its size
    order = sorted(tables, key=lambda name: -tables[name].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": dict(key)}
    ends, end = {}, 0
    for name in order:
        table, begin = tables[name], end
        end += table.bytes
        ends[name] = begin
        offsets = [begin, end]
        header[name] = {
            "dtype": CODES[table.dtype], "shape": list(table.shape), "data_offsets": offsets,
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text
    return {name: len(whole) + begin for name, begin in ends.items()}, whole


def _drop_abandoned(path: Path) -> None:
    """Removes the unfinished file of a killed process."""
    for left in path.parent.glob(f"*{UNFINISHED}"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
        except OSError:
            continue
