"""Changes the level of a log temporarily."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_level(name: str | None, level: int) -> Iterator[None]:
    """Hides what is below a level in a log, and restores the log's own level afterwards.

    Args:
        name: name of the log; None: the root log.
        level: such as `logging.WARNING`.
    """
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
