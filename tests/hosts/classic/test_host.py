"""The classic host as a `Host`, on tiny images."""

import dataclasses
import json
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from solo_rekd import hosts
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    View,
)
from solo_rekd.utils.errors import UserError


@pytest.fixture
def classic(host: ModuleType) -> Host:
    return hosts.find("classic")


@pytest.fixture
def job(data: Path) -> Pretraining:
    """A pretraining of two steps."""
    colours = (0.5, 0.5, 0.5)
    return Pretraining(
        method="byol",
        network=Network("alexnet"),
        images=Images(str(data / "train"), str(data / "val"), 32, colours, colours, workers=0),
        views=(View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=0, min_scale=0.5),),
        optimizer=Optimizer("sgd", 0.01, schedule="none"),
        batch_size=24,
        epochs=1,
        settings={"proj_hidden_dim": 16, "proj_output_dim": 8, "pred_hidden_dim": 16},
        host={"name": "b", "accelerator": "cpu", "enable_progress_bar": False},
    )


def test_it_knows_its_methods_and_what_they_take(classic: Host) -> None:
    methods = classic.methods()
    assert {"byol", "mocov2plus", "rekd", "bingo", "simsiam"} < methods.keys()
    assert not {"base", "linear"} & methods.keys()
    assert "pred_hidden_dim" in methods["byol"]
    assert "own_weight" in methods["rekd"]
    assert not {"lr", "optimizer", "knn_eval"} & set(methods["byol"])


def test_it_pretrains_and_evaluates(classic: Host, job: Pretraining, tmp_path: Path) -> None:
    shares: list[float] = []
    progress = Progress(None, shares.append, tmp_path / "history.jsonl")
    done = classic.pretrain(job, tmp_path / "runs", None, progress)
    assert done.checkpoint is not None
    assert done.checkpoint.is_relative_to(tmp_path / "runs" / "byol")
    assert (done.seconds > 0, done.images_per_second > 0) == (True, True)
    assert "train_class_loss" in done.metrics
    assert shares == [0.5, 1.0]
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    assert json.loads(line)["images"] == 48

    optimizer = Optimizer("sgd", 0.1, schedule="none")
    linear = LinearEvaluation(str(done.checkpoint), job.network, job.images, optimizer, 8, 1)
    accuracy = classic.linear(linear, None, Progress())
    assert 0 <= accuracy.top1 <= accuracy.top5 == 100
    assert "1 epochs, sgd lr 0.1, batch 8" in accuracy.protocol


def test_checking_tells_every_setting_that_decides_a_run(classic: Host, job: Pretraining) -> None:
    settings = classic.check(job)
    assert (settings["method"], settings["pred_hidden_dim"]) == ("byol", 16)
    assert settings["lr"] == pytest.approx(0.01)
    assert not {"num_workers", "data_dir", "checkpoint_dir"} & settings.keys()
    json.dumps(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rekt"}, "method='rekt' is not allowed"),
        ({"batch_size": -1}, "batch_size=-1 is not allowed"),
        ({"host": {"nonsense": 3}}, "unrecognized arguments: --nonsense 3"),
        ({"images": Images("/nowhere/t", "/nowhere/v", 32)}, "/nowhere/t"),
    ],
)
def test_a_job_that_it_does_not_take_is_refused(
    changes: dict[str, Any], message: str, classic: Host, job: Pretraining
) -> None:
    with pytest.raises(UserError, match=message):
        classic.check(dataclasses.replace(job, **changes))


def test_the_command_repeats_the_job(classic: Host, job: Pretraining) -> None:
    words = shlex.split(classic.command(job))
    assert words[:4] == ["solo-rekd", "pretrain", "--host", "classic"]
    assert words[words.index("--method") + 1] == "byol"


def test_versions(classic: Host) -> None:
    assert classic.versions() == {"solo-learn": "1.0.2", "pytorch-lightning": "1.9.5"}
