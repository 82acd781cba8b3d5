"""A history in the forms that other programs read: a table in CSV, and events of TensorBoard.

The history stays the truth. The table is written anew from it after each epoch; TensorBoard's
events can only be added, and those of epochs that a resumed run repeats are taken back.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solo_rekd.hosts.jobs import CSV, TENSORBOARD
from solo_rekd.utils.files import replacing

EPOCH = "epoch"

Line = Mapping[str, Any]


def write_logs(history: Path, forms: Sequence[str], lines: Sequence[Line], new: int) -> None:
    """Writes the forms of a history that are asked for, beside it.

    Args:
        history: the file of which they are forms, `NAME.jsonl`: the table is `NAME.csv`, and the
            events lie in the folder `NAME-tensorboard`.
        forms: any of `LOGS`.
        lines: of the history.
        new: of these lines, how many at the end are new to the events.
    """
    if CSV in forms:
        write_csv(history.with_suffix(".csv"), lines)
    if TENSORBOARD in forms:
        add_events(history.with_name(f"{history.stem}-{TENSORBOARD}"), lines[len(lines) - new :])


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """Writes a table with a row for each line and a column for each name, whole or not at all."""
    columns = list(dict.fromkeys(name for line in lines for name in line))
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(lines)


def add_events(folder: Path, lines: Sequence[Line]) -> None:
    """Adds the numbers of each line to TensorBoard's events, at the epoch counted from 1.

    Events of these epochs, and of later ones, that are there already count no more.

    Args:
        folder: of the events.
        lines: of the history, in their order.
    """
    from torch.utils.tensorboard import SummaryWriter  # an extra

    if not lines:
        return
    # TensorBoard reads files in the order of their names, which tell seconds apart and no less.
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)
    step = lines[0][EPOCH] + 1
    writer = SummaryWriter(str(folder), purge_step=step)
    try:
        for line in lines:
            for name, value in line.items():
                if name != EPOCH:
                    writer.add_scalar(name, value, line[EPOCH] + 1)
    finally:
        writer.close()
