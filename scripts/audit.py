"""Compares locks with the known advisories, but for those that advisories.csv explains.

An explanation has an end: from that day on its finding fails again.

Usage, with the Python of an environment that has pip-audit:
    python scripts/audit.py requirements.lock docs/requirements.lock
Exit code: pip-audit's, 1 where a finding is not explained; 2 where the file is wrong.
"""

import csv
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

EXPLAINED = Path(__file__).parents[1] / "advisories.csv"


class Explained(NamedTuple):
    """An advisory that does not concern this project.

    Attributes:
        ids: its names; the databases have several for one.
        package: that it is of.
        until: the day from which it is looked at again.
        reason: why it does not concern this project.
    """

    ids: tuple[str, ...]
    package: str
    until: date
    reason: str


def read(path: Path = EXPLAINED) -> list[Explained]:
    """Reads the explanations.

    Raises:
        SystemExit: a line lacks something, or its date is none.
    """
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                one = Explained(
                    tuple(row["ids"].split()),
                    row["package"],
                    date.fromisoformat(row["until"]),
                    row["reason"],
                )
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{path.name}, line {number}: {error}") from error
            if not (one.ids and one.package and one.reason):
                raise SystemExit(f"{path.name}, line {number}: ids, package or reason is empty")
            found.append(one)
    return found


def command(lock: str, explained: list[Explained], today: date) -> list[str]:
    """What to run for a lock: advisories whose explanation has ended are not left out."""
    names = [name for one in explained if today < one.until for name in one.ids]
    words = [sys.executable, "-m", "pip_audit", "--strict", "--require-hashes"]
    words += ["--disable-pip", "-r", lock]
    return words + [word for name in names for word in ("--ignore-vuln", name)]


def main(locks: list[str]) -> int:
    """Audits the locks; returns the exit code."""
    explained, today = read(), date.today()
    for one in explained:
        if today >= one.until:
            print(f"{one.ids[0]} of {one.package}: its explanation ended on {one.until}")
    return max(subprocess.run(command(lock, explained, today)).returncode for lock in locks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
