"""Every objective trains in the classic host, and linear evaluation follows."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from solo_rekd.objectives import OBJECTIVES

Train = Callable[..., dict[str, Any]]
CIFAR10 = os.environ.get("CIFAR10_JPEG") or None

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subset of CIFAR-10 where CIFAR10_JPEG names it as an image folder, else tiny noise."""
    if CIFAR10 is None:
        return data
    root = tmp_path_factory.mktemp("cifar10")
    for split, source, number in (("train", "train", 16), ("val", "test", 8)):
        for name in ("airplane", "automobile", "ship"):
            (root / split / name).mkdir(parents=True)
            for path in sorted((Path(CIFAR10) / source / name).iterdir())[:number]:
                (root / split / name / path.name).symlink_to(path)
    return root


# with the teacher that the method's paper has; the other one is a trial
MODES = {"rekd": "online"}


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        pytest.param(
            method, mode, marks=[pytest.mark.trial] * (mode != MODES.get(method, "frozen"))
        )
        for method in OBJECTIVES
        for mode in ("online", "frozen")
    ],
)
def test_two_epochs_and_linear_evaluation(
    method: str,
    mode: str,
    images: Path,
    host: ModuleType,
    train: Train,
    flags: Callable[..., list[str]],
    frozen_teacher: dict[str, Any],
) -> None:
    if method == "bingo" and mode == "online":
        pytest.skip("its bags are found once, so its teacher is frozen")
    teacher = frozen_teacher if mode == "frozen" else {"teacher_mode": mode}
    if method == "coss" and mode == "online":
        teacher = teacher | {"neighbours": 0}
    run = train(method, data_dir=images, max_epochs=2, **teacher)
    metrics = run["metrics"]
    assert all(torch.tensor(value).isfinite() for value in metrics.values()), metrics
    assert ("train_teacher_nce_loss" in metrics) == (mode == "online")
    state = torch.load(run["checkpoint"], weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())

    weights = {"pretrained_feature_extractor": run["checkpoint"]}
    result = host.linear(flags("linear", data_dir=images, **weights))
    assert 0 <= result["top1"] <= result["top5"] == 100
