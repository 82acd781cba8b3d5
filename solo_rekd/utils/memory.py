"""How much memory this machine has to spare, and what becomes of it when it is freed."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

# of glibc's mallopt, and the most that it takes: so large a block is of the heap, which stays
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST = 2**31 - 1
# by these a user has chosen an allocator, or its settings
CHOSEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Has this process keep the memory that it frees, for what it asks for next.

    A training step on a CPU frees hundreds of megabytes and asks for as many. By default glibc
    gives them back to the system, which zeroes every page before it gives it out again.

    Args:
        environment: of the process; what a user has chosen there stays.

    Returns:
        Whether it does so now: with glibc alone, and where nothing is chosen.
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
    """Bytes that a process can take without swapping, caches of files counted; None: not known.

    Args:
        meminfo: where Linux says so.
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
