"""What an epoch of the current host is judged by without labels."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

import solo.methods

from solo_rekd.backbones import build_backbone
from solo_rekd.evaluation.health import judge
from solo_rekd.hosts.current import watch
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    Signal,
    View,
    to_json,
)
from solo_rekd.images.held_out import read_held_out
from solo_rekd.images.photos.given import find_photos
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json_lines

ROOT = Path(solo.methods.__file__).parents[2]
# trains a job in two processes, of which Lightning starts the other
TWO = """
import json, sys
from pathlib import Path
from solo_rekd import hosts
from solo_rekd.hosts.jobs import Progress, Signal, pretraining_from_json
root, job, folder, history, photos = sys.argv[1:]
progress = Progress(history=Path(history), signal=Signal(photos, k=4))
hosts.find(root).pretrain(pretraining_from_json(json.loads(job)), Path(folder), None, progress)
"""
HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8, "queue_size": 24}
ONLINE = HEAD | {"teacher": "timm:resnet10t", "num_prototypes": 4, "teacher_warmup_epochs": 0}


@pytest.fixture
def frozen(data: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of a frozen teacher, of random weights, whose statistics fit the images."""
    torch.manual_seed(0)
    path, network = tmp_path / "teacher.pth", build_backbone("resnet18", 32).train()
    pixels = read_held_out(find_photos(data / "val").paths(), 32).pixels
    for _ in range(20):
        network(pixels / 127.5 - 1)
    torch.save(network.state_dict(), path)
    teacher = {"teacher": "resnet18", "teacher_stem": "small", "teacher_mode": "frozen"}
    return teacher | {"teacher_checkpoint": str(path)}


@pytest.fixture
def job(data: Path) -> Pretraining:
    """A pretraining of two epochs, of six steps each, whose method is to be replaced."""
    images = Images(f"{data}/train", f"{data}/val", 32, (0.5,) * 3, (0.5,) * 3, workers=0)
    optimizer = Optimizer("sgd", 0.05, schedule="none")
    host = {"limit_val_batches": 0}
    return Pretraining(
        "simreg", Network("alexnet"), images, (View(blur=0),), optimizer, 8, 2, host=host
    )


def trained(
    host: Host, job: Pretraining, folder: Path, signal: Signal | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The weights after a training, and the lines of its history."""
    folder.mkdir()
    progress = Progress(history=folder / "history.jsonl", signal=signal)
    done = host.pretrain(job, folder / "kept", None, progress)
    assert done.checkpoint is not None
    state = torch.load(done.checkpoint, weights_only=False)["state_dict"]
    return state, read_json_lines(folder / "history.jsonl")


@pytest.mark.parametrize(
    "method",
    [
        "simreg",
        pytest.param("rekd", marks=pytest.mark.slow),
        pytest.param("simclr", marks=pytest.mark.trial),
    ],
)
def test_the_training_is_the_same_to_the_bit(
    method: str, host: Host, job: Pretraining, frozen: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    by_method = {"simreg": frozen, "rekd": ONLINE, "simclr": {"proj_hidden_dim": 16}}
    job = dataclasses.replace(job, method=method, settings=by_method[method])
    plain, without = trained(host, job, tmp_path / "plain", None)
    state, lines = trained(host, job, tmp_path / "asked", Signal(str(data / "val"), k=4))
    assert plain.keys() == state.keys()
    assert [name for name in plain if not torch.equal(plain[name], state[name])] == []
    assert ([line["epoch"] for line in without], [line["epoch"] for line in lines]) == (
        [0, 1],
        [-1, 0, 1],
    )
    for line in lines:
        assert {"effective_rank", "feature_deviation", "signal_seconds"} <= line.keys()
        assert ("agreement" in line) == (method != "simclr")
    assert all(math.isfinite(line["loss"]) for line in lines[1:])
    assert ("loss_floor" in lines[1]) == (method == "simreg")
    if method == "simreg":
        assert lines[1]["agreement_chance"] == pytest.approx(4 / 23)


@pytest.mark.trial
def test_a_healthy_training_and_one_at_an_absurd_rate_are_told_apart(
    host: Host,
    job: Pretraining,
    frozen: dict[str, Any],
    data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = dataclasses.replace(job.optimizer, lr=0.02)
    job = dataclasses.replace(job, settings=frozen, epochs=10, optimizer=slow)
    signal = Signal(str(data / "val"), k=4)
    _, healthy = trained(host, job, tmp_path / "healthy", signal)
    # of a teacher that was hardly trained, and of two dozen photos, there is not much to learn
    assert not {finding.kind for finding in judge(healthy)} & {"collapsed", "diverged"}
    assert not re.search(r"step \d+: ", caplog.text)
    assert healthy[-1]["loss"] < healthy[1]["loss"]
    job = dataclasses.replace(job, optimizer=dataclasses.replace(job.optimizer, lr=1000))
    try:
        _, absurd = trained(host, job, tmp_path / "absurd", signal)
    except UserError as error:
        assert "diverged" in str(error)
    else:
        assert {finding.kind for finding in judge(absurd)} & {"collapsed", "diverged", "nothing"}


def test_the_other_processes_of_a_training_learn_of_the_signal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signal = Signal("photos", 50, 5)
    first = watch.Watch(1, Progress(history=tmp_path / "h.jsonl", signal=signal), True)
    assert json.loads(first.variable)["signal"] == {"images": "photos", "number": 50, "k": 5}
    monkeypatch.setenv(watch.VARIABLE, first.variable)
    monkeypatch.setattr(watch, "_current", None)
    begun: list[watch.Watch] = []
    monkeypatch.setattr(watch, "_begin", begun.append)
    watch.join()
    assert begun[0].progress.signal == signal
    assert any(isinstance(each, watch.EpochSignal) for each in begun[0].callbacks())


@pytest.mark.trial
@pytest.mark.parametrize("photos", ["nowhere", "val"])
def test_two_processes_train_with_one_signal_and_end_together_at_a_mistake(
    photos: str, job: Pretraining, frozen: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    devices = {"devices": 2, "strategy": "ddp", "accelerator": "cpu", "limit_val_batches": 0}
    job = dataclasses.replace(job, settings=frozen, host=devices)
    given = [ROOT, json.dumps(to_json(job)), tmp_path / "out", tmp_path / "h.jsonl", data / photos]
    done = subprocess.run(
        [sys.executable, "-c", TWO, *map(str, given)],
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
    assert [(line["epoch"], line["images"]) for line in lines] == [(-1, 0), (0, 48), (1, 48)]
    assert all("agreement" in line for line in lines)
    assert "recommended to use `self.log('agreement" not in done.stderr
