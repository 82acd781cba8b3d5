"""Progress bars of one process: live in a terminal, a few lines in a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from solo_rekd.utils.processes import is_first


def bar_interval() -> float:
    """Returns the seconds between two updates of a bar, longer for a log file than a terminal."""
    return 0.5 if sys.stderr.isatty() else 10


def bar(iterable: Iterable[Any] | None, title: str, unit: str, total: int | None = None) -> tqdm:
    """Makes a progress bar.

    Args:
        iterable: what to iterate over; None: the caller updates the bar.
        title: title of the bar.
        unit: name of one item.
        total: number of items, if the iterable has no length.

    Returns:
        The bar, which iterates over `iterable`. Only the first process of a training shows it.
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
