"""Scalars and arrays of numpy, from their bytes, without numpy's own functions for pickles."""

import math
from typing import Any

import numpy as np

from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import Inert

CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}


class Dtype(Inert):
    """Stands for a `numpy.dtype`; its state is (version, byte order, ...).

    Args:
        code: kind and size in bytes, such as `f4`.
    """

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        super().__init__("numpy.dtype")
        self.code = code

    def plain(self) -> np.dtype[Any] | None:
        """The dtype, or None where its elements are no plain numbers."""
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "|"
        if not isinstance(self.code, str) or self.code not in CODES or order not in ("<", ">", "|"):
            return None
        return np.dtype(order + self.code)


class Array(Inert):
    """Stands for a `numpy.ndarray`; its state is (version, shape, dtype, is_fortran, bytes)."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        super().__init__("numpy.ndarray")

    def __len__(self) -> int:
        """Bytes of its content."""
        data = self.state[-1] if isinstance(self.state, tuple) and self.state else b""
        return len(data) if isinstance(data, str | bytes) else 0

    @property
    def value(self) -> np.ndarray[Any, Any] | None:
        """The array, or None where its elements are no plain numbers."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise Unreadable
        _, shape, dtype, is_fortran, data = self.state
        plain = dtype.plain() if isinstance(dtype, Dtype) else None
        data = as_bytes(data) if plain is not None else b""
        if plain is None:
            return None
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise Unreadable
        if len(shape) > 32 or math.prod(shape) * plain.itemsize != len(data) or not data:
            raise Unreadable
        native = np.frombuffer(data, plain).astype(plain.newbyteorder("="))
        return native.reshape(shape, order="F" if is_fortran else "C")


def scalar(dtype: Any, data: Any = b"") -> Any:
    """Python's number of a numpy scalar, or a placeholder of one that is no plain number."""
    plain = dtype.plain() if isinstance(dtype, Dtype) else None
    if plain is None:
        return Inert("numpy.generic")
    data = as_bytes(data)
    if len(data) != plain.itemsize:
        raise Unreadable
    return np.frombuffer(data, plain)[0].item()


def as_bytes(data: Any) -> bytes:
    """Bytes as they are, or those of a string that Python 2 wrote."""
    if isinstance(data, str):
        return data.encode("latin-1")
    if not isinstance(data, bytes):
        raise Unreadable
    return data
