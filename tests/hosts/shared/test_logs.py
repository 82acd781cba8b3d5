"""A history as a table and as events of TensorBoard."""

import csv
from pathlib import Path
from typing import Any

import pytest

from solo_rekd.hosts.jobs import Progress, Signal
from solo_rekd.hosts.shared.logs import write_logs
from solo_rekd.utils import errors
from solo_rekd.utils.errors import UserError

LINES: list[dict[str, Any]] = [
    {"epoch": -1, "agreement": 0.1},
    {"epoch": 0, "agreement": 0.2, "loss": 3.0},
    {"epoch": 1, "agreement": 0.3, "loss": 2.0},
]


def test_a_table_has_a_column_for_every_figure(tmp_path: Path) -> None:
    write_logs(tmp_path / "history.jsonl", ("csv",), LINES, 1)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"epoch": "-1", "agreement": "0.1", "loss": ""}
    assert rows[2] == {"epoch": "1", "agreement": "0.3", "loss": "2.0"}


def test_events_are_added_and_a_repeated_epoch_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writing = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    # Names end in a number of the process's writers, and ".10" comes before ".9".
    monkeypatch.setattr(writing, "_global_uid", writing.AtomicCounter(8))
    history = tmp_path / "history.jsonl"
    write_logs(history, ("tensorboard",), LINES[:1], 1)
    for number in (2, 3):
        write_logs(history, ("tensorboard",), LINES[:number], 1)
    write_logs(history, ("tensorboard",), [*LINES[:2], LINES[2] | {"loss": 1.5}], 1)
    events = reading.EventAccumulator(str(tmp_path / "history-tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(1, 3.0), (2, 1.5)]
    agreement = [event.step for event in events.Scalars("agreement")]
    assert agreement == [0, 1, 2]


def test_a_form_that_is_unknown_or_has_no_history_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.jsonl"
    with pytest.raises(UserError, match=r"logs='xml'.*csv, tensorboard"):
        Progress(history=history, logs=("xml",))
    with pytest.raises(UserError, match="history"):
        Progress(logs=("csv",))
    monkeypatch.setattr(errors, "is_installed", lambda name: name != "tensorboard")
    with pytest.raises(UserError, match=r"solo-rekd\[tensorboard\]"):
        Progress(history=history, logs=("tensorboard",))


@pytest.mark.parametrize(("numbers", "key"), [({"k": 0}, "k=0"), ({"number": 10}, "number=10")])
def test_a_signal_without_neighbours_is_refused(numbers: dict[str, int], key: str) -> None:
    with pytest.raises(UserError, match=key):
        Signal("photos", **numbers)
