"""What a soak found, as docs/results keeps it: a line per look, and the facts of the run."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from study.rows import RESULTS, read_rows

from solo_rekd.utils.files import read_json, replacing, write_json

__all__ = ["RESULTS", "Left", "Sample", "Soak", "keep", "line", "read"]
LOOKS, FACTS = "reliability-soak.csv", "reliability-soak.json"


@dataclass(frozen=True)
class Sample:
    """What was held at one moment.

    Attributes:
        host: that trains.
        seconds: since the start.
        epochs: of the training that are over.
        comparisons: that have ended beside it.
        memory: of the training's process, resident, in bytes.
        memory_of_children: of the processes that it started, likewise.
        memory_beside: of the comparison beside it with its runs, likewise.
        handles: open in the training's process.
        threads: of the training's process.
        children: processes that the training started.
        processes: all together.
        temporary: files in the folder for temporary ones, which is theirs alone.
        shared: files in shared memory that were not there before, of whatever process.
    """

    host: str
    seconds: int
    epochs: int
    comparisons: int
    memory: int
    memory_of_children: int
    memory_beside: int
    handles: int
    threads: int
    children: int
    processes: int
    temporary: int
    shared: int


@dataclass(frozen=True)
class Left:
    """What is there when all processes have been ended.

    Attributes:
        processes: still at work.
        temporary: files in the folder for temporary ones.
        shared: new files in shared memory that no process uses.
    """

    processes: int
    temporary: int
    shared: int


@dataclass(frozen=True)
class Soak:
    """A run.

    Attributes:
        host: that trained.
        commit: of the package.
        processor: its name.
        cores: of the machine.
        left: at the end.
        faults: what went wrong, a line each.
    """

    host: str
    commit: str
    processor: str
    cores: int
    left: Left
    faults: tuple[str, ...] = ()


def line(sample: Sample) -> str:
    """A look in a line for the terminal."""
    values = ((field.name, getattr(sample, field.name)) for field in fields(Sample))
    return ", ".join(
        f"{name} {value / 2**20:.1f} MiB" if name.startswith("memory") else f"{name} {value}"
        for name, value in values
    )


def keep(folder: Path, run: Soak, samples: Sequence[Sample]) -> None:
    """Keeps a run in place of an earlier one of its host."""
    names = [field.name for field in fields(Sample)]
    path = folder / LOOKS
    others = [row for row in read_rows(path) if row["host"] != run.host]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in others)
        writer.writerows(astuple(sample) for sample in samples)
    facts: dict[str, Any] = read_json(folder / FACTS) or {}
    write_json(folder / FACTS, facts | {run.host: asdict(run)})


def read(folder: Path) -> list[tuple[Soak, list[Sample]]]:
    """Reads the run of every host with what each look found."""
    path = folder / FACTS
    facts = json.loads(path.read_text()) if path.exists() else {}
    rows = read_rows(folder / LOOKS)
    found = []
    for host, stored in sorted(facts.items()):
        run = Soak(**stored | {"left": Left(**stored["left"]), "faults": tuple(stored["faults"])})
        looks = [
            Sample(host, **{name: int(value) for name, value in row.items() if name != "host"})
            for row in rows
            if row["host"] == host
        ]
        found.append((run, looks))
    return found
