"""A queue by the number of images in the classic host."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

Flags = Callable[..., list[str]]
AUTO = {"queue_size": None, "num_prototypes": None, "teacher_warmup_epochs": None}
FLAT = {"train_dir": "flat", "val_dir": None, "no_labels": True}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"max_epochs": 50}, 16),  # by the 48 images
        ({"max_epochs": 50, "queue_size": "auto"}, 16),
        ({"max_epochs": 50} | FLAT, 16),
        ({"max_epochs": 1}, 8),  # a batch
        ({"max_epochs": 5, "batch_size": 2}, 16),
        ({"max_epochs": 2, "batch_size": 2}, 8),
        ({"max_epochs": 5, "batch_size": 2, "limit_train_batches": 0.2}, 4),
        ({"max_epochs": 50, "batch_size": 2, "max_steps": 30}, 4),
        ({"max_epochs": 1, "batch_size": 4, "devices": 2, "strategy": "ddp"}, 8),
        ({"max_epochs": 100, "dataset": "cifar10", "train_dir": None, "val_dir": None}, 8192),
        ({"max_epochs": 100, "dataset": "stl10", "train_dir": None, "val_dir": None}, 16384),
    ],
)
def test_a_queue_follows_from_the_images(
    changes: dict[str, Any], keys: int, host: ModuleType, flags: Flags
) -> None:
    args = host.parse_pretrain(flags("pretrain", method="rekd", **AUTO | changes))
    assert args.queue_size == keys
    assert args.num_prototypes == max(1, min(100, keys // 4))
    assert args.teacher_warmup_epochs == min(10, changes["max_epochs"] // 10)


def test_the_hosts_own_methods_keep_their_default(host: ModuleType, flags: Flags) -> None:
    args = host.parse_pretrain(flags("pretrain", method="mocov2plus", queue_size=None))
    assert args.queue_size == 65536


@pytest.mark.slow
def test_the_number_is_recorded_and_a_longer_run_resumes_with_it(
    train: Callable[..., dict[str, Any]],
) -> None:
    short = {"limit_val_batches": 0, "batch_size": 2, "limit_train_batches": 8, "num_workers": 0}
    first = train("seed", **AUTO | short)
    checkpoint = torch.load(first["checkpoint"], weights_only=True)
    assert checkpoint["solo_rekd"]["settings"]["queue_size"] == 2
    queue = checkpoint["state_dict"]["objective.queues.0.teacher"]
    assert len(queue) == 2
    told = json.loads((Path(first["checkpoint"]).parent / "args.json").read_text())
    assert told["queue_size"] == 2
    more = {"max_epochs": 9, "resume_from_checkpoint": first["checkpoint"]}
    second = train("seed", **AUTO | short | more)  # which by itself would have 8
    checkpoint = torch.load(second["checkpoint"], weights_only=True)
    assert (checkpoint["epoch"], len(checkpoint["state_dict"]["objective.queues.0.teacher"])) == (
        8,
        2,
    )
