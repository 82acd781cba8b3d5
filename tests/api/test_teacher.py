"""Teachers from a file or a module, and how they see."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from outside_teachers import Tiny
from torch import nn

from solo_rekd.api import load_teacher, make_objective

NAME = "timm:resnet10t"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_a_file_says_what_its_network_says(weights: Path) -> None:
    teacher = load_teacher(NAME, weights)
    net = timm.create_model("resnet10t", num_classes=0).eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = net(images)
    features, embeddings = teacher(images)
    assert torch.equal(features, expected) and not features.requires_grad
    torch.testing.assert_close(embeddings, nn.functional.normalize(expected))
    assert teacher.facts is not None and teacher.facts["num_features"] == 512
    assert (teacher.mean, teacher.std, teacher.embedding_dim(32)) == (MEAN, STD, 512)


def test_its_sight_is_as_asked_in_the_objective_too(weights: Path) -> None:
    grey = (0.5, 0.5, 0.5)
    teacher = load_teacher(NAME, str(weights), mean=[0.5] * 3, std=[0.25] * 3, size=48)
    assert (teacher.mean, teacher.std, teacher.size) == (grey, (0.25,) * 3, 48)
    objective = make_objective(
        *("seed",), teacher=teacher, features_dim=4, img_size=32, max_epochs=1, queue_size=8,
        mean=grey, std=grey,
    )  # fmt: skip
    inside: Any = objective.distillation.teacher
    assert [inside.identity[key] for key in ("mean", "std", "size")] == [[0.5] * 3, [0.25] * 3, 48]
    assert inside.identity["sha256"] == teacher.facts["sha256"]  # type: ignore[index]
    views = torch.randn(2, 3, 32, 32)
    resized = inside._networks[2](views)
    torch.testing.assert_close(inside(views), teacher(resized))


def test_a_module_that_is_called_stays_as_it_is() -> None:
    module = Tiny().train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    teacher = load_teacher(module, mean=MEAN, std=STD)
    images = torch.randn(2, 3, 16, 16)
    features, _ = teacher(images)
    assert features.shape == (2, 6) and teacher.facts is None and teacher.size is None
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    assert all(each.requires_grad for each in module.parameters()) and module.training


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"network": "resnet18"}, r"needs checkpoint=FILE"),
        (
            {"network": "resnet18", "checkpoint": "/none/t.pth"},
            r"/none/t\.pth does not exist",
        ),
        ({"network": "resnet1", "checkpoint": "t.pth"}, r"teacher='resnet1' is not allowed"),
        (
            {"network": Tiny(), "checkpoint": "t.pth"},
            r"^checkpoint='t\.pth' is not used with a module",
        ),
        ({"network": Tiny(), "mean": (1, 2)}, r"^teacher_mean="),
        ({"network": Tiny(), "std": (0, 0, 0)}, r"^teacher_std="),
        ({"network": Tiny(), "size": "big"}, r"^teacher_size='big' "),
        ({"network": Tiny(), "size": "native"}, r"^teacher_size='native' "),
        ({"network": Tiny(), "precision": "int8"}, r"^teacher_precision='int8' "),
        ({"network": Tiny(), "stem": "small"}, r"^teacher_stem='small' "),
    ],
)
def test_a_mistake_is_one_value_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        load_teacher(**given)
    assert "\n" not in str(refused.value)
