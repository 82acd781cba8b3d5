"""Silences what a host and its libraries say about themselves, so that progress is seen.

Only our own commands do so. What a user can act on is let through, such as a loader with too few
workers.
"""

import logging
import warnings
from collections.abc import Iterable

SHARED = (
    # deprecations inside the libraries, whose versions the host fixes
    r".*`torch\.cuda\.amp\.custom_",
    # the hosts' loaders always pin memory, and no flag changes that
    ".*'pin_memory' argument is set as true but no accelerator",
    # of what `signal.py` logs, which one process alone computes
    r"It is recommended to use `self\.log\('(agreement|effective_rank|feature_dev|signal_|loss)",
)


def silence(messages: Iterable[str], libraries: Iterable[str]) -> None:
    """Silences warnings and notes; to be called before the host is imported.

    Args:
        messages: how each warning begins, as regular expressions, beside those that both hosts
            give.
        libraries: Lightning's loggers, whose notes on every trainer are silenced; warnings pass.
    """
    for message in (*SHARED, *messages):
        warnings.filterwarnings("ignore", message=message)
    for library in libraries:
        logging.getLogger(library).setLevel(logging.WARNING)
