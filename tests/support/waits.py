"""Finds what would have the host wait for a device, on a machine without one."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# whose result the host needs, as a number or as a shape
WAITING = (
    "_local_scalar_dense",  # item, bool, int and float of a tensor
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "bincount",
    "repeat_interleave",
)
READING = (torch.Tensor.tolist, torch.Tensor.numpy)  # on the CPU they call no operator
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")  # by a mask, they count it


class NoWaits(TorchDispatchMode):
    """Raises an AssertionError at an operator or a method that waits for the device."""

    def __enter__(self) -> Any:
        self._reads = _NoReads()
        self._reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._reads.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITING, name
        if name in INDEXED:
            masks = [each for each in args[1] if each is not None and each.dtype == torch.bool]
            assert not masks, f"{name} by a mask"
        return func(*args, **kwargs or {})


class _NoReads(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in READING, func.__name__
        return func(*args, **kwargs or {})
