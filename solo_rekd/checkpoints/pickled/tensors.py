"""Tensors as views of a file's bytes, each checked to lie inside its storage."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from solo_rekd.checkpoints.pickled.arrays import Array
from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign, Inert

MOST_DIMENSIONS = 64
LARGEST = 2**62  # of a size, stride or number of elements: torch counts in 64 bits
QUANTISED = "holds a quantised tensor: save the state_dict() of the float model"
DTYPES = {
    f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
}


@dataclass(frozen=True)
class StorageType:
    """Stands for a class of storage, such as `torch.FloatStorage`: the type of its elements."""

    dtype: torch.dtype


@dataclass(frozen=True)
class TensorType:
    """Stands for `torch.Tensor` or `torch.nn.Parameter`, of which a file only names the class."""


class Budget:
    """How many bytes all tensors of a file may have together.

    Views that repeat a storage, as `expand` makes them, cost nothing in the file, but memory in
    whatever copies them.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = 16 * size + 2**26

    def spend(self, size: int) -> None:
        """Takes `size` bytes.

        Raises:
            Unreadable: so many are not left.
        """
        self._left -= size
        if self._left < 0:
            raise Unreadable("holds tensors of many times its size: save them contiguous()")


@dataclass(frozen=True)
class Storage:
    """A part of a file's bytes.

    Attributes:
        data: the bytes, or more than these.
        dtype: of the elements.
        start: of this part in `data`, in bytes.
        size: of this part, in bytes.
        budget: of the file.
    """

    data: torch.UntypedStorage
    dtype: torch.dtype
    start: int
    size: int
    budget: Budget


def _view(
    storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype or storage.dtype, torch.dtype):
        raise Unreadable
    dtype = dtype or storage.dtype
    if str(dtype).startswith("torch.q"):
        raise Unreadable(QUANTISED)
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise Unreadable
    numbers = (offset, *size, *stride) if len(size) <= MOST_DIMENSIONS else ("too many",)
    if not all(type(number) is int and 0 <= number < LARGEST for number in numbers):
        raise Unreadable
    # torch multiplies the sizes of an empty tensor too
    if math.prod(length for length in size if length) >= LARGEST or storage.start % dtype.itemsize:
        raise Unreadable
    elements = math.prod(size)
    if elements == 0:
        return torch.empty(size, dtype=dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= storage.size // dtype.itemsize:
        raise Unreadable
    storage.budget.spend(elements * dtype.itemsize)
    first = storage.start // dtype.itemsize + offset
    return torch.empty(0, dtype=dtype).set_(storage.data, first, size, stride)


def rebuild(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """`_rebuild_tensor` and `_v2`; `rest` is requires_grad, hooks (both left out) and metadata."""
    _refuse_lazy(rest[2:])
    return _view(storage, offset, size, stride)


def rebuild_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> Tensor:
    """`_rebuild_tensor_v3`, of the types that have no storage class of their own."""
    _refuse_lazy(rest)
    if not isinstance(dtype, torch.dtype):
        raise Unreadable
    return _view(storage, offset, size, stride, dtype)


def _refuse_lazy(metadata: tuple[Any, ...]) -> None:
    if any(metadata):  # the conjugate or negative of what the storage holds
        raise Unreadable("holds a lazy conjugate: save resolve_conj() and resolve_neg() of it")


def rebuild_parameter(data: Any, *_: Any) -> Any:
    """`_rebuild_parameter`: the tensor itself."""
    return data if isinstance(data, Tensor | Inert) else _raise(Unreadable())


def from_numpy(array: Any, dtype: Any, *_: Any) -> Any:
    """`_rebuild_device_tensor_from_numpy`, which TPUs write."""
    if not isinstance(array, Array) or not isinstance(dtype, torch.dtype):
        raise Unreadable
    value = array.value
    if value is None:
        raise Unreadable
    tensor = torch.from_numpy(value)
    if dtype.itemsize > tensor.itemsize:
        raise Unreadable
    return tensor.to(dtype)


def from_cpu(data: Any, dtype: Any, *_: Any) -> Any:
    """`_rebuild_device_tensor_from_cpu_tensor`: on the CPU, whatever the device was."""
    if not isinstance(data, Tensor) or data.dtype != dtype:
        raise Unreadable
    return data


def from_type(rebuilder: Any, kind: Any, args: Any, state: Any = None, *_: Any) -> Any:
    """`_rebuild_from_type`, of a subclass of Tensor, or of a Tensor that has attributes.

    A subclass may mean something else by its data, so it is no tensor here.
    """
    if not isinstance(args, tuple):
        raise Unreadable
    if isinstance(kind, TensorType):
        if getattr(rebuilder, "call", None) not in PLAIN:
            raise Unreadable
        return rebuilder.call(*args)
    if not isinstance(kind, Foreign):
        raise Unreadable
    return _whole(args, state) if kind.name.endswith(".DTensor") else Inert(kind.name)


PLAIN: tuple[Callable[..., Any], ...] = (rebuild, rebuild_v3, rebuild_parameter)
SHARDED = (
    "holds a part of a sharded model: save the full one, by get_model_state_dict(model, "
    "options=StateDictOptions(full_state_dict=True))"
)


def _whole(args: tuple[Any, ...], state: Any) -> Tensor:
    """The local tensor of a DTensor, where it is all of it."""
    slots = state[1] if isinstance(state, tuple) and len(state) == 2 else state
    local = slots.get("_local_tensor") if isinstance(slots, dict) else None
    spec = slots.get("_spec") if isinstance(slots, dict) else None
    held = spec.state if isinstance(spec, Inert) and isinstance(spec.state, dict) else {}
    placements = held.get("placements")
    if not isinstance(local, Tensor) or not isinstance(placements, tuple) or len(args) < 3:
        raise Unreadable(SHARDED)
    if len(placements) > MOST_DIMENSIONS:
        raise Unreadable
    # the processes have yet to add theirs to a partial one
    partial = any("Partial" in getattr(each, "name", "Partial") for each in placements)
    if partial or tuple(local.shape) != args[2]:
        raise Unreadable(SHARDED)
    return local


def refusing(reason: str) -> Callable[..., NoReturn]:
    """Makes a function that refuses a file for `reason`."""
    return lambda *_: _raise(Unreadable(reason))


def _raise(error: Exception) -> NoReturn:
    raise error
