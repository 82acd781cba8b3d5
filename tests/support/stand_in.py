"""A device that this machine has: tensors that compute on the CPU and refuse to meet the CPU's.

It stands in for a GPU where there is none. What it shows: that no operator mixes devices, but as
CUDA allows it, and that values are right wherever tensors lie. What it cannot show: a GPU's own
kernels, their rounding and their order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "stand_in"
MOVING = ("_to_copy", "copy_")
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")


class OnStandIn(Tensor):
    """A tensor of the device; `raw` has its values."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "OnStandIn":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    def __repr__(self, **kwargs: Any) -> str:
        return f"OnStandIn({self.raw!r})"

    def tolist(self) -> Any:
        """Its values; torch reads no subclass."""
        return self.raw.tolist()

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product; torch's own changes the shape of a result of vectors in place."""
        one, two = (self.dim() == 1), (other.dim() == 1)
        left, right = (self[None] if one else self), (other[:, None] if two else other)
        product = torch.matmul(left, right)
        product = product[..., 0] if two else product
        return product[..., 0] if one and two else product[0] if one else product

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Runs an operator on the values."""
    name, flat = func.overloadpacket.__name__, [*args, *kwargs.values()]
    here: list[Tensor] = []
    apart: list[Tensor] = []

    def sort(value: Any) -> Any:
        if isinstance(value, OnStandIn):
            here.append(value)
            return value.raw
        if isinstance(value, Tensor):
            apart.append(value)
        return value

    found = tree_map(sort, (args, kwargs))
    if name in INDEXED and isinstance(args[0], OnStandIn):  # the CPU's indexes are moved
        indexes = {id(each) for each in args[1] if isinstance(each, Tensor)}
        apart = [each for each in apart if id(each) not in indexes]
    if here and name not in MOVING:
        strangers = [each for each in apart if each.dim()]
        assert not strangers, f"{name} mixes {NAME} with {strangers[0].device}"
        if name.endswith("_") and not isinstance(args[0], OnStandIn):
            raise AssertionError(f"{name} writes from {NAME} to the CPU")
    raw_args, raw_kwargs = found
    device = raw_kwargs.get("device")
    to = device.type if isinstance(device, torch.device) else device and str(device).split(":")[0]
    if to == NAME:
        raw_kwargs = {**raw_kwargs, "device": torch.device("cpu")}
    generator = raw_kwargs.get("generator")
    assert not (here and generator is not None), f"{name} draws on {NAME} by the CPU's generator"
    out = func(*raw_args, **raw_kwargs)
    if name == "copy_" or (name.endswith("_") and not name.startswith("_") and flat):
        return args[0]
    if to not in (None, NAME) or not (here or to == NAME):
        return out
    if name in ("_local_scalar_dense", "equal", "is_nonzero"):
        return out
    return tree_map(lambda value: OnStandIn(value) if type(value) is Tensor else value, out)


class Factories(TorchDispatchMode):
    """Makes new tensors of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == NAME:
            return compute(func, args, kwargs)
        return func(*args, **kwargs)


class _Module(_DummyBackendModule):
    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def set_up() -> None:
    """Makes the device known to torch, once in a process."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
        # a module's tensors are replaced as a whole, their values with them
        torch.__future__.set_swap_module_params_on_conversion(True)
