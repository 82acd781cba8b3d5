"""Protects computations from a host's mixed precision."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Runs `function` outside autocast, with half-precision inputs converted to float32.

    Args:
        function: function with at least one tensor among its arguments.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> R:
        given = (*args, *kwargs.values())
        tensors = (value for value in given if isinstance(value, Tensor))
        # a tensor that is given twice is converted once
        wide = {id(value): _widen(value) for value in given}
        with torch.autocast(next(tensors).device.type, enabled=False):
            return function(
                *(wide[id(value)] for value in args),
                **{key: wide[id(value)] for key, value in kwargs.items()},
            )

    return run


def _widen(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def finite(x: Tensor) -> Tensor:
    """Replaces NaN and infinity, which float16 may produce, by zero in values without gradient.

    A loss that is not finite costs a float16 run one step, which its gradient scaler skips; a key
    that is not finite would stay in queue and prototypes and spoil all later steps.

    Args:
        x: any shape.
    """
    return x.nan_to_num(nan=0, posinf=0, neginf=0)
