"""Counters that can be read without waiting for the device."""

from typing import Any

import torch
from torch import nn


class Counters(nn.Module):
    """Keeps integers twice: as Python numbers for the steps, and as buffers for checkpoints.

    Reading a number from a GPU waits until all of its queued work is done.

    Args:
        numbers: initial value of each counter.
    """

    def __init__(self, **numbers: int) -> None:
        super().__init__()
        self._numbers = numbers
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor([number]))

    def number(self, name: str) -> int:
        """Returns the value of a counter."""
        return self._numbers[name]

    def set_number(self, name: str, number: int) -> None:
        """Sets the value of a counter."""
        self._numbers[name] = number
        self.get_buffer(name).fill_(number)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._numbers = {name: int(self.get_buffer(name)) for name in self._numbers}
