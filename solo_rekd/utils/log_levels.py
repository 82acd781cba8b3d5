"""The level of a log for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_level(name: str | None, level: int) -> Iterator[None]:
    """Keeps what is below a level out of a log, and sets its own level again afterwards.

    Args:
        name: of the log; None: that of all.
        level: such as `logging.WARNING`.
    """
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
