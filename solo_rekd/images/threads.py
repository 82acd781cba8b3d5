"""Checks many files in threads, because most of the time is spent waiting for a disk or network."""

from collections.abc import Callable, Sequence
from itertools import chain
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from solo_rekd.utils.cores import cores
from solo_rekd.utils.progress import bar

PER_CORE, MOST = 4, 32  # threads; more of them wait for Python's lock
PART = 512  # files that a thread takes at once
SHOWN = 100_000  # files from which a progress bar appears, where it has a title

T = TypeVar("T")


def in_threads(look: Callable[[str], T], paths: Sequence[str], title: str | None = None) -> list[T]:
    """Calls a function with each path.

    Args:
        look: the function.
        paths: paths of the files.
        title: title of a progress bar; None: there is none.

    Returns:
        Its results, in the order of the paths.
    """
    if not paths:
        return []
    parts = [paths[start : start + PART] for start in range(0, len(paths), PART)]
    with ThreadPool(min(PER_CORE * cores(), MOST, len(parts))) as threads:
        done = threads.imap(lambda part: [look(path) for path in part], parts)
        if title is not None and len(paths) >= SHOWN:
            done = bar(done, title, f"x {PART} files", len(parts))
        return list(chain.from_iterable(done))
