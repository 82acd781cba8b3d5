"""A job as the classic host's flags."""

import dataclasses
from typing import Any

import pytest

from solo_rekd import cli
from solo_rekd.commands import jobs
from solo_rekd.hosts.classic.flags import linear_flags, pretraining_flags
from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
)
from solo_rekd.utils.errors import UserError

PRETRAINING = Pretraining(
    method="mocov2plus",
    network=Network("resnet18"),
    images=Images("/d/a/train", "/d/b/val", size=32, mean=(0.5,) * 3, workers=2),
    views=(View(crops=2, brightness=0.4, blur=0.0),),
    optimizer=Optimizer("sgd", 0.1, weight_decay=1e-4, decay_epochs=(3, 5)),
    batch_size=100,
    epochs=7,
    settings={"queue_size": 200, "momentum_classifier": True},
    host={"precision": "16", "wandb": False},
)


HERE = {"val_dir": ["."]}


def flags(job: Pretraining) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in pretraining_flags(job):
        if word.startswith("--"):
            found[word[2:]] = last = []
        else:
            last.append(word)
    return found


def test_every_field_is_a_flag() -> None:
    assert flags(PRETRAINING) == {
        "data_dir": ["/d"],
        "train_dir": ["a/train"],
        "val_dir": ["b/val"],
        "dataset": ["custom"],
        "num_workers": ["2"],
        "mean": ["0.5", "0.5", "0.5"],
        "encoder": ["resnet18"],
        "stem": ["small"],  # the host's own choice would be by the data set's name
        "optimizer": ["sgd"],
        "weight_decay": ["0.0001"],
        "lr_decay_steps": ["3", "5"],
        "batch_size": ["100"],
        "max_epochs": ["7"],
        "num_crops_per_aug": ["2"],
        "crop_size": ["32"],
        "brightness": ["0.4"],
        "gaussian_prob": ["0.0"],
        "lr": ["0.256"],  # which the host multiplies by 100 / 256
        "method": ["mocov2plus"],
        "seed": ["5"],
        "queue_size": ["200"],
        "momentum_classifier": [],
        "name": ["mocov2plus"],  # by which the host names its files
        "precision": ["16"],
    }


def test_a_rate_is_the_same_after_the_hosts_scaling() -> None:
    for batch in range(1, 600):
        job = dataclasses.replace(PRETRAINING, batch_size=batch)
        assert float(flags(job)["lr"][0]) * batch / 256 == pytest.approx(0.1, rel=1e-11)


def test_several_views_are_lists() -> None:
    views = (View(crops=1, size=32, blur=0.5), View(crops=3, blur=0.1))
    found = flags(dataclasses.replace(PRETRAINING, views=views))
    assert found["num_crops_per_aug"] == ["1", "3"]
    assert found["crop_size"] == ["32", "32"]
    assert found["gaussian_prob"] == ["0.5", "0.1"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"train": "t", "val": None}, {"data_dir": ["."], "train_dir": ["t"]}),
        (
            {"train": "/d/t", "val": "/d"},
            {"data_dir": ["/d"], "train_dir": ["t"], "val_dir": ["."]},
        ),
        ({"train": "d/t", "val": "e"}, {"data_dir": ["."], "train_dir": ["d/t"], "val_dir": ["e"]}),
    ],
)
def test_folders_are_named_from_where_both_lie(
    images: dict[str, Any], expected: dict[str, list[str]]
) -> None:
    changed = dataclasses.replace(PRETRAINING.images, **images)
    found = flags(dataclasses.replace(PRETRAINING, images=changed))
    assert {name: found[name] for name in found if name.endswith("_dir")} == expected


def test_a_linear_evaluation_takes_its_rate_as_it_is() -> None:
    job = LinearEvaluation(
        "/c.ckpt", Network("alexnet"), PRETRAINING.images, Optimizer("sgd", 0.3), 100, 7, 4
    )
    said = linear_flags(job)
    for name, value in (("lr", "0.3"), ("seed", "4"), ("pretrained_feature_extractor", "/c.ckpt")):
        assert said[said.index(f"--{name}") + 1] == value
    assert "--stem" not in said  # the network knows by itself


def test_a_key_of_the_other_host_is_refused() -> None:
    job = dataclasses.replace(PRETRAINING, host={"scheduler.interval": "step"})
    with pytest.raises(UserError, match=r"scheduler.interval='step' .* a key of its main branch"):
        pretraining_flags(job)


@pytest.mark.parametrize("gpus", [(), (0,), (0, 1, 2)])
def test_a_command_line_comes_back_from_its_job(gpus: tuple[int, ...]) -> None:
    given = {"name": "x", "precision": "bf16", "knn_eval": True, "replace_sampler_ddp": False}
    given |= {"gpus": gpus} if gpus else {"devices": (1,)}
    optimizer = dataclasses.replace(PRETRAINING.optimizer, name="lars", schedule="step")
    job = dataclasses.replace(PRETRAINING, host=given, optimizer=optimizer)
    words = pretraining_flags(job)
    assert "--lars" in words and ("--gpus" in words) == bool(gpus)
    _, args = cli.parse(["pretrain", *words])
    back = jobs.pretraining(args, {"mocov2plus": ["queue_size"]})
    rate = pytest.approx(job.optimizer.lr)
    assert back.optimizer.lr == rate
    small = Network("resnet18", "small")  # what the size makes of auto
    rate_aside = dataclasses.replace(back.optimizer, lr=job.optimizer.lr)
    assert dataclasses.replace(back, optimizer=rate_aside) == dataclasses.replace(
        job, network=small
    )
