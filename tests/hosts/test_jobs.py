"""A job survives being written and read."""

import json
from dataclasses import FrozenInstanceError

import pytest

from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
    linear_from_json,
    pretraining_from_json,
    to_json,
)

IMAGES = Images("/d/train", "/d/val", size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
PRETRAINING = Pretraining(
    method="rekd",
    network=Network("alexnet", "small"),
    images=IMAGES,
    views=(View(crops=1, min_scale=0.2), View(crops=1, blur=0.5)),
    optimizer=Optimizer("sgd", 0.1, decay_epochs=(3, 5)),
    batch_size=8,
    epochs=2,
    settings={"teacher": "resnet18", "temperature": 0.2},
    host={"precision": "16"},
)
LINEAR = LinearEvaluation("/c.ckpt", PRETRAINING.network, IMAGES, Optimizer("sgd", 0.1), 8, 2)


def test_a_job_is_the_same_after_json() -> None:
    assert pretraining_from_json(json.loads(json.dumps(to_json(PRETRAINING)))) == PRETRAINING
    assert linear_from_json(json.loads(json.dumps(to_json(LINEAR)))) == LINEAR


def test_a_job_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        LINEAR.epochs = 3  # type: ignore[misc]
