"""How fast a quantity grows: the exponent of a power law."""

import math
from collections.abc import Sequence


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The least-squares slope of log(value) over log(size).

    Args:
        sizes: at least two, above 0.
        values: likewise.

    Example:
        >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
        2.0
    """
    x = [math.log(size) for size in sizes]
    y = [math.log(max(value, 1e-12)) for value in values]
    middle = sum(x) / len(x)
    spread = sum((each - middle) ** 2 for each in x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / spread


def last_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The same over the upper half of the sizes, where what does not grow counts for less."""
    first = min(len(sizes) // 2, len(sizes) - 2)
    return exponent(sizes[first:], values[first:])
