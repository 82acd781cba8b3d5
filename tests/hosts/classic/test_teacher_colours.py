"""The colours of the classic host's images, and its warning of a teacher that wants others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from solo_rekd.backbones import build_backbone


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.5, 0.5),
        ({"mean": "0.1 0.2 0.3", "std": "0.4 0.2 0.3"}, 0.1, 0.4),
        ({"dataset": "cifar10"}, 0.4914, 0.247),  # the host's own
        ({"dataset": "imagenet"}, 0.485, 0.228),
    ],
)
def test_an_objective_knows_the_colours_of_its_views(
    changes: dict[str, Any], mean: float, std: float, host: Any, flags: Callable[..., list[str]]
) -> None:
    args = host.parse_pretrain(flags("pretrain", method="rekd", **changes))
    run = host.METHODS["rekd"](**vars(args)).objective.run
    assert (run.mean[0], run.std[0]) == pytest.approx((mean, std))


@pytest.mark.parametrize(("mean", "warned"), [("0.485 0.456 0.406", False), ("0.5 0.5 0.5", True)])
def test_a_teacher_of_other_colours_is_named(
    mean: str,
    warned: bool,
    train: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.save(build_backbone("resnet18", 32, "imagenet").state_dict(), tmp_path / "t.pth")
    teacher = {"teacher": "resnet18", "teacher_checkpoint": tmp_path / "t.pth"}
    short = {"limit_train_batches": 1, "limit_val_batches": 0, "std": "0.229 0.224 0.225"}
    train("seed", **teacher, **short, mean=mean, dictionary=None)
    assert ("probably expect images of mean 0.485" in caplog.text) == warned
