"""The history of a run for other programs: a table of comma-separated values, and TensorBoard's."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solo_rekd.utils.errors import is_installed
from solo_rekd.utils.files import replacing

CSV, TENSORBOARD = "metrics.csv", "tensorboard"


def write_csv(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes a row an epoch, with a column for each name that any epoch has."""
    names = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    with replacing(path, sync=False) as unfinished:
        unfinished.write_text(text.getvalue())


class TensorBoard:
    """Writes what TensorBoard shows, where that is installed.

    Args:
        folder: of its files. Those of an earlier part of the run are replaced.
        lines: of the epochs that were done before.
    """

    def __init__(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        self._writer: Any = None
        if not is_installed("tensorboard"):
            return
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds an epoch."""
        if self._writer is None:
            return
        for name, value in line.items():
            if name != "epoch" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, line["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()
