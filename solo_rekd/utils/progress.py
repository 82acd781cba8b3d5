"""Progress bars: live in a terminal, a few lines in a log file, of one process only."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from solo_rekd.utils.processes import is_first


def bar_interval() -> float:
    """Seconds between two states of a bar: a terminal shows it live, a log file gets few lines."""
    return 0.5 if sys.stderr.isatty() else 10


def bar(iterable: Iterable[Any] | None, title: str, unit: str, total: int | None = None) -> tqdm:
    """Makes a progress bar.

    Args:
        iterable: what it follows; None where the caller moves it.
        title: what is going on.
        unit: one of what is counted.
        total: how many there are, where the iterable does not tell.

    Returns:
        The bar, which iterates over `iterable`. The first process of a training shows it alone.
    """
    return tqdm(
        iterable,
        desc=title,
        total=total,
        unit=unit,
        disable=not is_first(),
        mininterval=bar_interval(),
        dynamic_ncols=True,
    )
