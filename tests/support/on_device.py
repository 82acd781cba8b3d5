"""Makes what a test makes on the device that SOLO_REKD_TEST_DEVICE names."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

PACKAGE = Path(__file__).parents[2] / "solo_rekd"
VARIABLE = "SOLO_REKD_TEST_DEVICE"


class OnDevice(TorchFunctionMode):
    """A default device.

    Args:
        device: where tensors are made.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _device_constructors() or not self._is_meant(kwargs.get("device")):
            return func(*args, **kwargs)
        by_package = PACKAGE in Path(sys._getframe(1).f_code.co_filename).parents
        if "generator" in kwargs and by_package:  # what it draws on the CPU is there on a GPU, too
            return func(*args, **kwargs)
        # made on the CPU and moved: every device gets the same numbers, and the CPU's generators do
        requires_grad = kwargs.pop("requires_grad", False)
        made = func(*args, **{**kwargs, "device": "cpu"}).to(self.device)
        return made.requires_grad_(requires_grad)

    def _is_meant(self, device: Any) -> bool:
        return device is None or torch.device(device).type == self.device.type


@contextmanager
def chosen_device() -> Iterator[None]:
    """Makes tensors there in the block; without the variable nothing changes."""
    name = os.environ.get(VARIABLE, "cpu")
    with ExitStack() as stack:
        if name == "stand_in":
            import stand_in

            stand_in.set_up()
            stack.enter_context(stand_in.Factories())
        if name != "cpu":
            stack.enter_context(OnDevice(name))
        yield
