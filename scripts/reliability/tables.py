"""Writes the tables of docs/reliability.md from the files of results."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.page import table, write_between
from study.rows import RESULTS

from reliability import kill, numerics, soak_page, soak_rows
from reliability.rows import Row, read_rows
from reliability.strike import ALONE, KINDS

PAGE = kill.ROOT / "docs" / "reliability.md"
PLACE = "kill"
HEAD = ("host", "command", "run", "killed runs", *KINDS, "in a write", "equal to the last bit")
HOSTS = {"classic": "1.0.2", "main": "main"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="Default: %(default)s")
    add("--page", type=Path, default=PAGE, metavar="FILE", help="Default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Writes them."""
    write_between(args.page, PLACE, killed(read_rows(args.results / kill.RESULTS.name)))
    if rows := read_rows(args.results / numerics.FILE.name):
        write_between(args.page, numerics.PLACE, numerics.numbers(rows))
    if runs := soak_rows.read(args.results):
        write_between(args.page, soak_page.PLACE, soak_page.tables(runs))
    return 0


def killed(rows: Sequence[Row]) -> str:
    """A line per host, command and run: how often it was killed, and how often it was equal."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["host"], row["command"])):
        groups.setdefault((HOSTS[row["host"]], row["command"], row["arm"]), []).append(row)
    lines = []
    for name, group in groups.items():
        kinds = [sum(row["kind"] == kind for row in group) for kind in KINDS]
        # of every kill of a run, whatever moment was asked for
        torn = sum(int(part) > 0 for row in group for part in row["unfinished"].split("+"))
        equal = sum(row["equal"] == "yes" for row in group)
        lines.append([*name, len(group), *kinds, torn, f"{equal} of {len(group)}"])
    alone = [float(row["ended"]) for row in rows if row["kind"] == ALONE]
    ended = ""
    if alone:
        ended = "What a command that was killed alone had started was gone "
        ended += f"{max(alone):.1f} s later at most. "
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows))
    machines = "; ".join(dict.fromkeys(row["machine"] for row in rows))
    return f"{table(HEAD, lines)}\n\n{ended}Code: commit {commits}. Machine: {machines}."
