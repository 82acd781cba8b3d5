"""A queue by the number of images in the current host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

AUTO = {
    f"method_kwargs.{name}": None
    for name in ("queue_size", "num_prototypes", "teacher_warmup_epochs")
}
TAKEN = {name: "auto" for name in AUTO}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"max_epochs": 50}, 16),  # by the 48 images
        ({"max_epochs": 1}, 8),  # a batch
        ({"max_epochs": 2, "optimizer.batch_size": 2}, 8),
        ({"max_epochs": 2, "optimizer.batch_size": 2, "+data.fraction": 0.5}, 4),
        ({"max_epochs": 5, "optimizer.batch_size": 2, "+limit_train_batches": 0.2}, 4),
        ({"max_epochs": 50, "data.dataset": "cifar100"}, 8192),
    ],
)
def test_a_queue_follows_from_the_images(
    changes: dict[str, Any], keys: int, pretraining: Callable[..., Any]
) -> None:
    method = pretraining("rekd", **TAKEN | changes)
    found = method.objective.config
    assert found.queue_size == method.cfg.method_kwargs.queue_size == keys
    assert len(method.objective.queues[0]["teacher"]) == keys
    assert found.num_prototypes == max(1, min(100, keys // 4))
    assert found.teacher_warmup_epochs == min(10, changes["max_epochs"] // 10)


@pytest.mark.slow
def test_the_number_is_recorded(
    run_script: Callable[..., str], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    changes = {"checkpoint.enabled": True, "checkpoint.dir": tmp_path, "max_epochs": 1}
    run_script("main_pretrain.py", *arguments("rekd", **TAKEN | changes))
    (path,) = tmp_path.glob("**/*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    settings = checkpoint["solo_rekd"]["settings"]["method_kwargs"]
    assert (settings["queue_size"], settings["num_prototypes"]) == (8, 2)
