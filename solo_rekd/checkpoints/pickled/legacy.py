"""What `torch.save` wrote before torch 1.6: five pickles, and then the bytes of each storage."""

from typing import IO, Any

import torch

from solo_rekd.checkpoints.pickled.errors import DAMAGED, Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign
from solo_rekd.checkpoints.pickled.machine import Machine
from solo_rekd.checkpoints.pickled.source import Source, fill
from solo_rekd.checkpoints.pickled.tensors import Budget, Storage, StorageType

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
FEW = 10  # opcodes of the first two pickles, which hold a number each


def read_legacy(file: IO[bytes]) -> tuple[Any, dict[str, None]]:
    """Reads a file of this kind.

    Args:
        file: the file, at its first byte.

    Returns:
        Its content, and the foreign names in it.

    Raises:
        Unreadable: it is damaged, or not a checkpoint.
    """
    source = Source(file)
    try:
        is_torch = Machine(source, operations=FEW).run() == MAGIC
    except (Unreadable, ValueError) as error:
        cut = not source.left and len(source) < 100  # a whole one is longer
        raise Unreadable(DAMAGED if cut else _FOREIGN) from error
    if not is_torch:
        raise Unreadable(_FOREIGN)
    if Machine(source, operations=FEW).run() != VERSION:
        raise Unreadable
    Machine(source).run()  # sizes of the machine's integers, which torch does not use either
    storages = _Storages(len(source))
    machine = Machine(source, storages.find)
    held = machine.run()
    storages.fill(file, Machine(source).run())
    return held, machine.foreign


_FOREIGN = (
    "is not a checkpoint but a pickle that torch.save did not write: reading it would run code, so "
    "it is refused: if you trust it, save its arrays as .safetensors"
)


class _Storages:
    """The storages of a file, which come after the tensors that are views of them."""

    def __init__(self, size: int) -> None:
        self._left = size  # bytes that storages may still claim
        self._budget = Budget(size)
        self._data: dict[str, tuple[torch.UntypedStorage, int]] = {}  # with bytes an element

    def find(self, persistent_id: Any) -> Any:
        """Returns the storage or module of a persistent id.

        It is ("storage", type, key, device, number of elements, view) or ("module", class, ...).
        """
        if not isinstance(persistent_id, tuple) or len(persistent_id) < 2:
            raise Unreadable
        if persistent_id[0] == "module" and isinstance(persistent_id[1], Foreign):
            return persistent_id[1]  # whose source code follows, which is not looked at
        if persistent_id[0] != "storage" or len(persistent_id) != 6:
            raise Unreadable
        _, kind, key, _, elements, view = persistent_id
        if not isinstance(kind, StorageType) or not isinstance(key, str):
            raise Unreadable
        width = kind.dtype.itemsize
        if type(elements) is not int or elements < 0:
            raise Unreadable
        if key not in self._data:
            self._left -= elements * width
            if self._left < 0:
                raise Unreadable
            self._data[key] = torch.UntypedStorage(elements * width), width
        data, _ = self._data[key]
        if data.nbytes() != elements * width:
            raise Unreadable
        start, size = _part(view, elements)
        return Storage(data, kind.dtype, start * width, size * width, self._budget)

    def fill(self, file: IO[bytes], order: Any) -> None:
        """Reads the bytes of all storages, in the order of their keys."""
        if not isinstance(order, list) or len(order) != len(self._data):
            raise Unreadable
        for key in order:
            if not isinstance(key, str) or key not in self._data:
                raise Unreadable
            data, width = self._data.pop(key)
            elements = int.from_bytes(file.read(8), "little", signed=True)
            if elements * width != data.nbytes() or len(fill(data, file)) != data.nbytes():
                raise Unreadable


def _part(view: Any, elements: int) -> tuple[int, int]:
    """First element and number of elements of a view (key, first, number), which torch 0.3 had."""
    if view is None:
        return 0, elements
    if not isinstance(view, tuple) or len(view) != 3:
        raise Unreadable
    _, start, size = view
    if not (type(start) is int and type(size) is int and start >= 0 and size >= 0):
        raise Unreadable
    if start + size > elements:
        raise Unreadable
    return start, size
