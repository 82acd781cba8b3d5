"""The same job on both hosts: each in a process of its own, for both are packages named `solo`."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from solo_rekd.hosts.jobs import (
    Images,
    Network,
    Optimizer,
    Pretraining,
    View,
    to_json,
)
from solo_rekd.utils.files import read_json_lines

HOME = os.environ.get("SOLO_LEARN_HOME")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.current_host,
    pytest.mark.skipif(not HOME, reason="SOLO_LEARN_HOME names no checkout of main"),
]
HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8}
MOMENTUM = {"base_tau_momentum": 0.99, "final_tau_momentum": 0.999}
MOCO = HEAD | MOMENTUM | {"queue_size": 24, "temperature": 0.2}
REKD = {"teacher": "timm:resnet10t", "num_prototypes": 4, "teacher_warmup_epochs": 0}
SETTINGS = {
    "mocov2plus": MOCO,
    "rekd": MOCO | REKD,
    "simclr": HEAD | {"temperature": 0.2},
    "byol": HEAD | MOMENTUM | {"pred_hidden_dim": 16},
}
# every step of the augmentation, of which one never happens
VIEW = View(
    **{"min_scale": 0.2, "max_scale": 1.0, "jitter": 0.8, "grayscale": 0.2, "blur": 0.5},
    **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "flip": 0.5},
    solarization=0,
)
PRETRAIN = """
import json, sys
from pathlib import Path
from solo_rekd import hosts
from solo_rekd.hosts.jobs import Progress, pretraining_from_json
given, job, history = sys.argv[1:]
progress = Progress(history=Path(history))
hosts.find(given).pretrain(pretraining_from_json(json.loads(job)), None, None, progress)
"""


def pretraining(method: str, student: str, data: Path) -> Pretraining:
    return Pretraining(
        method,
        Network(student),
        Images(f"{data}/train", f"{data}/val", 32, (0.5,) * 3, (0.25,) * 3, workers=1),
        (VIEW,),
        Optimizer("sgd", 0.01, 1e-4, "warmup_cosine", warmup_epochs=1, warmup_start_lr=0.002),
        batch_size=8,
        epochs=1,
        classifier_lr=0.01,
        settings=SETTINGS[method],
    )


def losses(given: str, job: Pretraining, folder: Path) -> list[dict[str, Any]]:
    """The losses of every epoch on one host."""
    history = folder / "history.jsonl"
    history.unlink(missing_ok=True)
    argv = [sys.executable, "-c", PRETRAIN, given, json.dumps(to_json(job)), str(history)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [
        {name: value for name, value in line.items() if name.endswith("_loss")}
        for line in read_json_lines(history)
    ]


@pytest.mark.parametrize(
    ("method", "student"),
    [
        pytest.param("mocov2plus", "alexnet", marks=pytest.mark.trial),
        ("rekd", "alexnet"),
        # with the small stem, which neither host chooses by itself
        pytest.param("mocov2plus", "resnet18", marks=pytest.mark.trial),
        pytest.param("simclr", "timm:resnet10t", marks=pytest.mark.trial),
        pytest.param("byol", "resnet18", marks=pytest.mark.trial),
    ],
)
def test_the_first_loss_is_the_same(method: str, student: str, data: Path, tmp_path: Path) -> None:
    job = pretraining(method, student, data)
    job = dataclasses.replace(job, host={"limit_train_batches": 1, "limit_val_batches": 1})
    (classic,) = losses("classic", job, tmp_path)
    (main,) = losses(str(HOME), job, tmp_path)
    trained = [name for name in classic if name.startswith("train")]
    assert trained
    assert {name: main[name] for name in trained} == pytest.approx(
        {name: classic[name] for name in trained}, abs=1e-5
    )


@pytest.mark.trial
def test_later_epochs_see_the_same_images(data: Path, tmp_path: Path) -> None:
    """At a rate of 0 the weights stay, and the losses tell the images alone."""
    job = pretraining("simclr", "alexnet", data)
    still = dataclasses.replace(job.optimizer, lr=0, warmup_start_lr=0, schedule="none")
    job = dataclasses.replace(job, optimizer=still, classifier_lr=0, epochs=3)
    classic, main = (losses(given, job, tmp_path) for given in ("classic", str(HOME)))
    assert len({line["train_nce_loss"] for line in classic}) == 3
    for ours, theirs in zip(main, classic, strict=True):
        assert ours["train_nce_loss"] == pytest.approx(theirs["train_nce_loss"], abs=1e-5)
