import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Flags = Callable[..., list[str]]
TWO = {"max_epochs": 2, "limit_train_batches": 3, "limit_val_batches": 1}


@pytest.fixture
def pretrain(host: ModuleType, flags: Flags) -> Callable[..., dict[str, Any]]:
    """Pretrains a tiny run by simclr: pretrain(max_epochs=2, history=path)."""

    def run(
        history: Path | None = None,
        progress: Callable[[float], None] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        argv = flags("pretrain", method="simclr", **(TWO | changes))
        return host.pretrain(argv, history, progress)

    return run


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_history_has_a_line_an_epoch_with_every_metric(
    pretrain: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run = pretrain(tmp_path / "history.jsonl")
    lines = read(tmp_path / "history.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1]
    assert [line["images"] for line in lines] == [24, 24]
    assert 0 < sum(line["seconds"] for line in lines) < run["seconds"]
    assert all(0 < line["waiting"] < 1 for line in lines)
    assert 10**8 < lines[0]["peak_memory_bytes"] <= lines[1]["peak_memory_bytes"]
    for name in ("train_nce_loss", "train_acc1"):
        assert lines[1][name] == run["metrics"][f"{name}_epoch"]
    assert lines[1]["val_acc1"] == run["metrics"]["val_acc1"]
    assert lines[0]["train_nce_loss"] != lines[1]["train_nce_loss"]
    assert not any(name.endswith(("_step", "_epoch")) for line in lines for name in line)


def test_history_has_no_metric_that_its_epoch_does_not_have(
    host: ModuleType, flags: Flags, tmp_path: Path
) -> None:
    # once the queues are full, in the third step, the relation takes the contrast's place
    argv = flags("pretrain", method="rekd", relation_weight=1, max_epochs=2)
    host.pretrain(argv, tmp_path / "history.jsonl")
    first, second = read(tmp_path / "history.jsonl")
    assert {"train_nce_loss", "train_relation_loss"} <= first.keys()
    assert "train_relation_loss" in second
    assert "train_nce_loss" not in second


def test_history_of_a_resumed_run_goes_on_from_the_stored_lines(
    pretrain: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path}
    first = pretrain(history, max_epochs=1, **kept)
    (line,) = history.read_text().splitlines()
    # of an epoch that was done but not saved
    history.write_text(line + "\n" + line.replace('"epoch": 0', '"epoch": 1') + "\n")
    resumed = pretrain(history, max_epochs=3, resume_from_checkpoint=first["checkpoint"])
    assert resumed["checkpoint"] is None  # it saved none
    lines = history.read_text().splitlines()
    assert lines[0] == line
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    assert json.loads(lines[1])["seconds"] != json.loads(line)["seconds"]


def test_progress_is_told_after_every_step(pretrain: Callable[..., dict[str, Any]]) -> None:
    shares: list[float] = []
    pretrain(progress=shares.append)
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_progress_of_linear_evaluation_is_told(
    host: ModuleType, flags: Flags, online: dict[str, Any]
) -> None:
    shares: list[float] = []
    checkpoint = {"pretrained_feature_extractor": online["checkpoint"]}
    host.linear(flags("linear", limit_train_batches=2, **checkpoint), shares.append)
    assert shares == pytest.approx([1 / 2, 1])


def test_interruption_is_not_taken_for_the_end(
    pretrain: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "history.jsonl", interrupt)
    assert not (tmp_path / "history.jsonl").exists()


def test_bar_counts_steps_where_one_takes_several_batches(
    pretrain: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    pretrain(accumulate_grad_batches=3, enable_progress_bar=True)
    assert "| 2/2 [" in capfd.readouterr().err


def test_bar_is_closed_before_an_error_is_told(
    pretrain: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(share: float) -> None:
        raise ArithmeticError("disturbed")

    with pytest.raises(ArithmeticError, match="disturbed"):
        pretrain(progress=fail, enable_progress_bar=True)
    shown = capfd.readouterr().err
    assert "simclr alexnet" in shown
    assert shown.endswith("\n")
