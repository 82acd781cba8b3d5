"""A frozen teacher with a precision of its own, whatever the run's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector
from solo_rekd.config import SeedConfig
from solo_rekd.memory_format import is_channels_last
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.errors import UserError

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def make(precision: torch.dtype | None) -> FrozenTeacher:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", 32)
    projector = two_layer_projector(512, 32, 16)
    return FrozenTeacher(backbone, projector, precision=precision)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("precision", TYPES, ids=str)
def test_it_says_almost_the_same_in_float32(precision: torch.dtype, images: Tensor) -> None:
    features, units = make(precision)(images)
    expected_features, expected = make(None)(images)
    assert features.dtype == units.dtype == torch.float32
    assert float(cosine_similarity(units, expected).min()) > 0.999
    assert float(cosine_similarity(features, expected_features).min()) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("precision", TYPES, ids=str)
def test_neither_autocast_nor_a_move_changes_it(precision: torch.dtype, images: Tensor) -> None:
    teacher = make(precision)
    expected = teacher(images)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(images)[1], expected)
    # as Lightning moves a model of --precision 16-true
    nn.ModuleDict({"teacher": teacher}).half()
    assert {each.dtype for each in teacher.backbones[0].parameters()} == {precision}
    assert teacher.dtype == torch.float32
    assert torch.equal(teacher(images)[1], expected)


def test_it_follows_a_move_to_another_memory_format(images: Tensor) -> None:
    teacher = make(torch.bfloat16)
    nn.ModuleDict({"teacher": teacher}).to(memory_format=torch.channels_last)
    assert is_channels_last(teacher.backbones[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_precision": "half"}, "teacher_precision='half'.*bfloat16"),
        ({"teacher_precision": "bfloat16", "teacher_mode": "online"}, "auto with teacher_mode"),
        ({"teacher_precision": "bfloat16", "teacher": "onnx"}, "auto or float32.*onnx"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, str], message: str) -> None:
    given = {"teacher_mode": "frozen", "teacher_checkpoint": "a.pt"} | settings
    with pytest.raises(UserError, match=message):
        SeedConfig(**given)  # type: ignore[arg-type]
