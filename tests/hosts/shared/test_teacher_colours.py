"""Which colours a teacher wants, by what is known of its weights, and when a warning says so."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.hosts.shared.teacher_colours import make, wanted, warn_of_colours
from solo_rekd.objectives import HostRun
from solo_rekd.teachers.teacher import make_identity

IMAGENET = make(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
HALVES = make([0.5] * 3, [0.5] * 3)
CIFAR = make((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
CLASSIC = {"encoder": "resnet18", "crop_size": [32], "dataset": "custom"}


@pytest.mark.parametrize(
    ("name", "beside", "expected"),
    [
        ("resnet50", None, IMAGENET),
        ("timm:resnet50", None, IMAGENET),
        ("timm:vit_tiny_patch16_224", None, HALVES),
        ("resnet18", CLASSIC | {"mean": [0.5] * 3, "std": [0.5] * 3}, HALVES),
        ("resnet18", CLASSIC | {"dataset": "cifar10"}, None),
        ("resnet50", CLASSIC | {"mean": [0.5] * 3, "std": [0.5] * 3}, IMAGENET),  # another's
    ],
)
def test_what_is_known_of_weights(
    name: str, beside: dict[str, Any] | None, expected: Any, tmp_path: Path
) -> None:
    if beside:
        (tmp_path / "args.json").write_text(json.dumps(beside))
    for mode in ("online", "frozen"):
        assert wanted(make_identity(mode, name, str(tmp_path / "t.pth"))) == expected


@pytest.mark.parametrize(
    ("name", "given", "warned"),
    [
        ("timm:vit_tiny_patch16_224", IMAGENET, True),
        ("timm:vit_tiny_patch16_224", HALVES, False),
        ("resnet50", CIFAR, True),
        ("resnet50", make(IMAGENET_DEFAULT_MEAN, (0.228, 0.224, 0.225)), False),  # 1.0.2's
        ("resnet50", None, False),
    ],
)
def test_a_warning_names_both(
    name: str, given: Any, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = HostRun(6, 3, 32, 1, *(given or ()))
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        warn_of_colours(make_identity("frozen", name, str(tmp_path / "t.pth")), run)
        warn_of_colours(make_identity("online", name), run)  # from scratch it has no wish
    assert len(caplog.messages) == warned
    if warned:
        assert name in caplog.text and str(given) in caplog.text and "\n" not in caplog.messages[0]
