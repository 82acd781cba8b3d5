"""How many processor cores this process may use."""

import os


def cores() -> int:
    """Those that this process may use, of those that there are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
