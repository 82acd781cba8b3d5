"""What an epoch of the classic host is judged by without labels."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from solo_rekd.evaluation.agreement import effective_rank, neighbour_agreement
from solo_rekd.evaluation.health import judge
from solo_rekd.hosts.jobs import Signal
from solo_rekd.images.held_out import normalised, read_held_out
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json_lines

# pretrains in two processes, of which Lightning starts the other
TWO = """
import sys
from pathlib import Path
from solo_rekd import hosts
from solo_rekd.hosts.jobs import Signal
history, photos, *argv = sys.argv[1:]
hosts.commands().pretrain(argv, Path(history), signal=Signal(photos, k=4))
"""
Train = Callable[..., dict[str, Any]]
FIGURES = {"agreement", "agreement_error", "agreement_chance", "agreement_ceiling"}
OF_STUDENT = {"effective_rank", "feature_deviation", "signal_seconds"}


@pytest.fixture
def photos(data: Path) -> list[str]:
    return sorted(map(str, (data / "val").glob("*/*.png")))


@pytest.fixture
def run(
    host: ModuleType, flags: Callable[..., list[str]], data: Path, tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Pretrains with or without the signal: what came of it, and the lines of its history."""

    def build(method: str, name: str, signal: bool = True, **changes: Any) -> Any:
        folder = tmp_path / name
        given = {"save_checkpoint": True, "checkpoint_dir": folder, "limit_val_batches": 0}
        argv = flags("pretrain", method=method, **given | changes)
        asked = Signal(str(data / "val"), k=4) if signal else None
        folder.mkdir(exist_ok=True)
        done = host.pretrain(argv, folder / "history.jsonl", signal=asked, logs=("csv",))
        return done, read_json_lines(folder / "history.jsonl")

    return build


def weights(done: dict[str, Any]) -> dict[str, Any]:
    held = torch.load(done["checkpoint"], weights_only=True)
    return held["state_dict"] | {"optimizer": held["optimizer_states"]}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seed", "rekd", "mocov2plus"])
def test_the_training_is_the_same_to_the_bit(
    method: str, run: Any, frozen_teacher: dict[str, Any], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"max_epochs": 2}
    changes |= frozen_teacher if method == "seed" else {}
    (plain, without), (done, lines) = (
        run(method, name, signal, **changes) for name, signal in (("plain", False), ("asked", True))
    )
    assert same(weights(plain), weights(done))
    assert [line["epoch"] for line in without] == [0, 1]
    assert [line["epoch"] for line in lines] == [-1, 0, 1]
    for name in without[1]:
        if name.startswith("train_"):
            assert without[1][name] == lines[2][name]
    taught = method != "mocov2plus"
    for line in lines:
        assert line.keys() >= OF_STUDENT | (FIGURES if taught else set())
        assert 0 < line["signal_seconds"] <= line["seconds"]
    assert all(math.isfinite(line["loss"]) for line in lines[1:])
    assert not taught or lines[1]["loss"] == lines[1]["train_student_loss"]
    if method == "seed":
        assert lines[1]["loss_floor"] == lines[1]["train_loss_floor"] < lines[1]["loss"]
        assert lines[0]["agreement_ceiling"] == pytest.approx(lines[2]["agreement_ceiling"])
        assert lines[2]["agreement_chance"] == pytest.approx(4 / 23)
    if method == "rekd":  # whose teacher learns
        assert lines[0]["agreement_ceiling"] != lines[2]["agreement_ceiling"]
    assert (tmp_path / "asked" / "history.csv").read_text().count("\n") == 4


def test_the_figures_are_those_of_the_trained_student(
    run: Any, host: ModuleType, flags: Any, frozen_teacher: dict[str, Any], photos: list[str]
) -> None:
    from solo.methods import METHODS

    done, lines = run("simreg", "run", **frozen_teacher)
    args = host.parse_pretrain(flags("pretrain", method="simreg", **frozen_teacher))
    model = METHODS["simreg"](**vars(args))
    model.load_state_dict(torch.load(done["checkpoint"], weights_only=True)["state_dict"])
    model.eval()
    pixels = read_held_out(photos, 32).pixels
    half = (0.5,) * 3
    (images,) = normalised(pixels, half, half, len(photos), torch.zeros(()))
    with torch.no_grad():
        student, teacher = model.encoder(images), model.objective.teacher(images)[0]
    assert lines[1]["agreement"] == pytest.approx(neighbour_agreement(student, teacher, 4))
    assert lines[1]["effective_rank"] == pytest.approx(effective_rank(student), rel=1e-4)


def test_a_resumed_run_keeps_the_line_of_the_untrained_student(
    run: Any, frozen_teacher: dict[str, Any]
) -> None:
    first, lines = run("simreg", "run", **frozen_teacher)
    _, more = run(
        "simreg",
        "run",
        max_epochs=2,
        resume_from_checkpoint=first["checkpoint"],
        **frozen_teacher,
    )
    assert more[:2] == lines
    assert more[2]["epoch"] == 1
    assert more[2]["agreement_ceiling"] == pytest.approx(lines[0]["agreement_ceiling"])


def test_too_few_photos_are_refused(
    host: ModuleType, flags: Callable[..., list[str]], data: Path, tmp_path: Path
) -> None:
    given = {"save_checkpoint": True, "checkpoint_dir": tmp_path}
    argv = flags("pretrain", method="simclr", **given)
    with pytest.raises(UserError, match=r"signal\.images=.*k=24"):
        host.pretrain(argv, signal=Signal(str(data / "val"), k=24))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.trial
def test_a_healthy_training_and_one_at_an_absurd_rate_are_told_apart(
    run: Any,
    frozen_teacher: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = frozen_teacher | {"max_epochs": 12}
    _, healthy = run("simreg", "healthy", lr=0.1, **given)
    # of a teacher that was hardly trained, and of two dozen photos, there is not much to learn
    assert not {finding.kind for finding in judge(healthy)} & {"collapsed", "diverged"}
    assert not re.search(r"step \d+: ", caplog.text)
    assert healthy[-1]["loss"] < healthy[1]["loss"]
    try:
        _, absurd = run("simreg", "absurd", lr=1000, **given)
    except UserError as error:
        assert "diverged" in str(error)
    else:
        assert {finding.kind for finding in judge(absurd)} & {"collapsed", "diverged", "nothing"}


@pytest.mark.trial
@pytest.mark.parametrize("photos", ["val", "nowhere"])
def test_two_processes_train_with_one_signal_and_end_together_at_a_mistake(
    photos: str,
    flags: Callable[..., list[str]],
    frozen_teacher: dict[str, Any],
    data: Path,
    tmp_path: Path,
) -> None:
    two = {"devices": 2, "strategy": "ddp", "batch_size": 4, "limit_val_batches": 0}
    argv = flags("pretrain", method="seed", **two | frozen_teacher)
    script = tmp_path / "two.py"
    script.write_text(TWO)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "h.jsonl", data / photos, *argv],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if photos == "nowhere":
        assert done.returncode != 0
        assert "nowhere" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    lines = read_json_lines(tmp_path / "h.jsonl")
    assert [(line["epoch"], line["images"]) for line in lines] == [(-1, 0), (0, 48)]
    assert all("agreement" in line for line in lines)
