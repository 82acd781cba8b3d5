"""Counters that a step reads without waiting for the device."""

from typing import Any

import torch
from torch import nn


class Counters(nn.Module):
    """Keeps whole numbers twice: as Python's, which a step reads, and as buffers, for a checkpoint.

    To read a number from a GPU is to wait until it has done all that it was given.

    Args:
        numbers: the first value of each counter.
    """

    def __init__(self, **numbers: int) -> None:
        super().__init__()
        self._numbers = numbers
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor([number]))

    def number(self, name: str) -> int:
        """The value of a counter."""
        return self._numbers[name]

    def set_number(self, name: str, number: int) -> None:
        """Gives a counter a value."""
        self._numbers[name] = number
        self.get_buffer(name).fill_(number)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._numbers = {name: int(self.get_buffer(name)) for name in self._numbers}
