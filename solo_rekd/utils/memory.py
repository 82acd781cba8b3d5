"""The memory that is available, and how freed memory is kept."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

# parameters of glibc's mallopt, and its maximum: blocks up to that size are kept on the heap
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST = 2**31 - 1
# variables with which users choose an allocator, or its settings
CHOSEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Makes this process keep the memory that it frees, to reuse it.

    A training step on a CPU frees hundreds of megabytes and allocates them again. By default glibc
    returns them to the system, which zeroes every page before giving it out again.

    Args:
        environment: environment of the process; a user's choice there is respected.

    Returns:
        Whether it does so now: only with glibc, and if the user has not chosen otherwise.
    """
    if any(name.startswith(CHOSEN) and value for name, value in environment.items()):
        return False
    try:
        is_glibc = os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError, OSError):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if is_glibc else None
    if mallopt is None:
        return False
    return all(mallopt(key, MOST) == 1 for key in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Returns the bytes that can be allocated without swapping; None: not known.

    Args:
        meminfo: file with Linux's memory information.
    """
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
