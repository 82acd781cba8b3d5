"""How often a progress bar moves."""

import sys


def bar_interval() -> float:
    """Seconds between two states of a bar: a terminal shows it live, a log file gets few lines."""
    return 0.5 if sys.stderr.isatty() else 10
