import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from solo_rekd.hosts.shared import progress
from solo_rekd.hosts.shared.progress import EpochClock, HistoryHooks, TotalProgressHooks

MODULE = SimpleNamespace(batch_size=8)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until a test moves it."""
    time = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: time.seconds)
    return time


def trainer(**changes: Any) -> SimpleNamespace:
    given = {"world_size": 2, "current_epoch": 0, "max_epochs": 3, "callback_metrics": {}}
    given |= {"is_global_zero": True, "global_step": 1, "estimated_stepping_batches": 6}
    return SimpleNamespace(**given | changes)


def run_epoch(hooks: Any, now: SimpleNamespace, waits: tuple[float, ...], step: float) -> None:
    for wait in waits:
        now.seconds += wait
        hooks.on_train_batch_start(trainer(), MODULE, None, 0)
        now.seconds += step
        hooks.on_train_batch_end(trainer(), MODULE, {"loss": 1.0}, None, 0)


def test_a_wait_lasts_from_the_end_of_a_batch_to_the_start_of_the_next(now: Any) -> None:
    clock = EpochClock()
    for wait in (3.0, 1.0):
        now.seconds += wait
        clock.batch_starts()
        now.seconds += 2
        clock.batch_ends(trainer(), MODULE)
    assert (clock.seconds, clock.waiting, clock.images) == (8, 0.5, 32)
    now.seconds += 50  # an evaluation between two epochs is no wait
    clock.begin()
    now.seconds += 1
    clock.batch_starts()
    now.seconds += 3
    assert (clock.seconds, clock.waiting, clock.images) == (4, 0.25, 0)


def test_a_line_of_the_history_has_the_share_of_waits_and_is_told(now: Any, tmp_path: Path) -> None:
    told: list[Any] = []
    hooks = HistoryHooks(tmp_path / "history.jsonl", tell=told.append)
    hooks.on_train_start(trainer(), MODULE)
    hooks.on_train_epoch_start(trainer(), MODULE)
    run_epoch(hooks, now, (3.0, 1.0), 2.0)
    hooks.on_train_epoch_end(trainer(), MODULE)
    (line,) = (json.loads(text) for text in (tmp_path / "history.jsonl").open())
    assert (line["seconds"], line["images"], line["waiting"]) == (8, 32, 0.5)
    assert told == [line]


def test_the_bar_says_images_per_second_and_waits(now: Any, capsys: Any) -> None:
    hooks = TotalProgressHooks("rekd alexnet")
    hooks.on_train_start(trainer(global_step=0), MODULE)
    hooks.on_train_epoch_start(trainer(), MODULE)
    run_epoch(hooks, now, (3.0, 1.0), 2.0)
    assert hooks.bar is not None
    said = hooks.bar.postfix
    hooks.on_train_end()
    for text in ("epoch=1/3", "loss=1.000", "images/s=4", "waiting for images=50%"):
        assert text in said
