"""The rows of a file of results."""

import csv
import platform
from collections.abc import Mapping
from pathlib import Path

from study.rows import read_rows

from solo_rekd.compare.collect import cpu_model
from solo_rekd.utils.cores import cores
from solo_rekd.utils.files import replacing

__all__ = ["Row", "add_row", "machine", "read_rows"]
Row = dict[str, str]


def add_row(path: Path, row: Mapping[str, str]) -> None:
    """Adds a row behind those of a file, which is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [*read_rows(path), row]
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def machine() -> str:
    """The processor, the cores that this process may use, and the system."""
    return f"{cpu_model()}, {cores()} cores, {platform.system()}"
