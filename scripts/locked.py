"""Prints a part of a lock file, for `make install`.

Usage:
    python scripts/locked.py requirements.lock --only setuptools wheel packaging
    python scripts/locked.py requirements.lock --other_torch
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

TORCH = ("torch", "torchvision")
# by these names PyPI's torch brings what it needs of CUDA
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


class Entry(NamedTuple):
    """A package of a lock at one version.

    Attributes:
        name: of the package.
        by: the packages that need it; `-r FILE` for one that is asked for by name.
        text: its lines.
    """

    name: str
    by: frozenset[str]
    text: str


def read_entries(lock: str) -> list[Entry]:
    """Reads a lock as `uv pip compile --generate-hashes` writes it."""
    found = []
    for text in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        if name := re.match(r"[a-z0-9][a-z0-9._-]*(?===)", text):
            needed = re.findall(r"^    #(?: via)? +(?!via$)(.+)$", text, re.MULTILINE)
            found.append(Entry(name[0], frozenset(needed), text))
    return found


def without_torch(entries: list[Entry]) -> list[Entry]:
    """Leaves out torch, torchvision, and what only these need of CUDA: another build has none."""
    needed_by: dict[str, set[str]] = {}
    for entry in entries:  # a package can have an entry for each Python
        needed_by.setdefault(entry.name, set()).update(entry.by)
    out = set(TORCH)
    while (
        more := {name for name, by in needed_by.items() if CUDA.fullmatch(name) and by <= out} - out
    ):
        out |= more
    return [entry for entry in entries if entry.name not in out]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("lock", type=Path)
    add("--only", nargs="+", metavar="NAME", help="these packages alone")
    add("--other_torch", action="store_true", help="without torch and what it needs of CUDA")
    args = parser.parse_args()
    entries = read_entries(args.lock.read_text(encoding="utf-8"))
    if args.other_torch:
        entries = without_torch(entries)
    if args.only is not None:
        if missing := set(args.only) - {entry.name for entry in entries}:
            sys.exit(f"{args.lock} has no {', '.join(sorted(missing))}: make lock")
        entries = [entry for entry in entries if entry.name in args.only]
    sys.stdout.write("".join(entry.text for entry in entries))


if __name__ == "__main__":
    main()
