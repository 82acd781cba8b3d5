"""What processes hold, as Linux tells it in /proc: memory, handles, threads, children."""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Held(NamedTuple):
    """What one process holds.

    Attributes:
        memory: resident, in bytes, pages that others share included.
        handles: open file descriptors.
        threads: of it.
    """

    memory: int
    handles: int
    threads: int


def held_by(pid: int) -> Held | None:
    """What a process holds; None: it has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if "VmRSS" not in fields:  # a zombie
            return None
        memory = 1024 * int(fields["VmRSS"].split()[0])
        handles = len(os.listdir(PROC / str(pid) / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Held(memory, handles, int(fields["Threads"]))


def marked(variable: str, value: str) -> set[int]:
    """The processes that began with a variable in their environment, wherever they hang now.

    A child has what its parent had, also where it left the parent's session or outlived it.
    """
    wanted = f"{variable}={value}".encode()
    return {pid for pid in _all() if wanted in _read(pid, "environ").split(b"\0")}


def below(root: int, among: Collection[int]) -> set[int]:
    """Those of some processes that a process started, or that these started, and so on."""
    return {*tree(root, among)} - {root}


def tree(root: int, among: Collection[int] | None = None) -> list[int]:
    """The number of a process and those of all that descend from it.

    Args:
        root: the process.
        among: those to look at; None: all that there are.
    """
    children: dict[int, list[int]] = {}
    for pid in _all() if among is None else among:
        if fields := _status(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting for its parent to take note of its end."""
    fields = _status(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def in_use(paths: Iterable[Path]) -> set[Path]:
    """Those files that a process has open, or in its memory."""
    wanted, found = {str(path): path for path in paths}, set()
    for pid in _all() if wanted else ():
        maps = {line.rpartition(" ")[2] for line in _read(pid, "maps").decode().splitlines()}
        found |= {path for name, path in wanted.items() if name in maps | _open(pid)}
    return found


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""


def _status(pid: int) -> list[bytes]:
    # from the state and the parent on; the name before, in brackets, may hold anything
    return _read(pid, "stat").rpartition(b")")[2].split()


def _open(pid: int) -> set[str]:
    folder = PROC / str(pid) / "fd"
    found = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(folder / name))
    except OSError:
        pass
    return found
