"""A teacher sees the student's images as it was trained to see images."""

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.transforms.functional import normalize

from solo_rekd.backbones import build_backbone
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers import OnlineTeacher, build_teacher
from solo_rekd.utils.errors import UserError

CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VIT = "timm:vit_tiny_patch16_224"


def build(path: Path | None, name: str = "resnet18", size: int = 64, **settings: Any) -> Any:
    """A teacher whose student sees CIFAR's mean and deviation; `colours` gives others."""
    colours = settings.pop("colours", CIFAR)
    given = {"teacher": name, "proj_hidden_dim": 16, "proj_output_dim": 8}
    given["teacher_checkpoint"] = path and str(path)
    return build_teacher(DistillationConfig(**given | settings), size, *colours)


def features(teacher: Any, images: torch.Tensor) -> torch.Tensor:
    if isinstance(teacher, OnlineTeacher):
        query, key = teacher.eval().query(images)[0], teacher.key(images)[0]
        torch.testing.assert_close(query, key)
        return query.detach()
    return teacher(images)[0]


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator) / 255


@pytest.fixture(scope="module")
def published(shake: Any) -> nn.Module:
    torch.manual_seed(0)
    return shake(build_backbone("resnet18", 64, "imagenet"), seed=1)


@pytest.fixture(scope="module")
def file(published: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "t.pth"
    torch.save(published.state_dict(), path)
    return path


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("size", ["auto", 96, 32, "native"])
@pytest.mark.parametrize("colours", ["auto", "0.1 0.2 0.3"])
def test_its_features_are_those_of_its_own_preprocessing(
    mode: str, size: Any, colours: str, pixels: Any, published: Any, file: Path
) -> None:
    mean, std = ((0.1, 0.2, 0.3),) * 2 if colours != "auto" else IMAGENET
    given = {"teacher_mean": mean, "teacher_std": std} if colours != "auto" else {}
    teacher = build(file, teacher_mode=mode, teacher_size=size, **given)
    side = {"auto": 64, "native": 224}.get(size, size)
    own = normalize(interpolate(pixels, (side, side), mode="bicubic", antialias=True), mean, std)
    with torch.no_grad():
        expected = published(own)
    found = features(teacher, normalize(pixels, *CIFAR))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    told = {key: teacher.identity[key] for key in ("stem", "mean", "std", "size")}
    assert told == {"stem": "imagenet", "mean": [*mean], "std": [*std], "size": side}


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_equal_views_are_not_touched(mode: str, file: Path) -> None:
    for colours, expected in ((IMAGENET, True), (CIFAR, False)):
        teacher = build(file, teacher_mode=mode, colours=colours)
        views = teacher.views if mode == "online" else teacher._networks[2:]
        assert (not views) == expected
        kinds = {key.split(".")[0] for key in teacher.state_dict()}
        assert "views" not in kinds  # in no checkpoint
    # what stands in a file may be rounded
    near = tuple(value + 1e-8 for value in IMAGENET[0])
    assert build(file, colours=(near, IMAGENET[1])).views is None


def test_views_follow_the_teacher_to_another_precision(file: Path, pixels: Any) -> None:
    teacher = build(file, teacher_mode="frozen", teacher_size=96)
    expected = teacher(normalize(pixels, *CIFAR))[1]
    half = teacher.to(torch.bfloat16)(normalize(pixels, *CIFAR).bfloat16())[1]
    assert (half * expected).sum(1).min() > 0.98


def test_without_a_file_the_teacher_sees_as_the_student(pixels: Any) -> None:
    teacher = build(None, "timm:resnet10t")
    assert teacher.views is None and teacher.identity["mean"] == [*CIFAR[0]]
    halves = {"teacher_mean": (0.5,) * 3, "teacher_std": (0.5,) * 3}
    asked = build(None, teacher_size=32, **halves)
    assert asked.views.size == 32 and asked.identity["stem"] == "small"
    assert asked.views(normalize(pixels, *CIFAR)).min() >= -1.2


def test_a_vit_has_the_patch_grid_of_its_size(pixels: Any, shake: Any, tmp_path: Path) -> None:
    source = shake(timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=3), seed=1)
    torch.save(source.state_dict(), path := tmp_path / "t.pth")
    source.reset_classifier(0)
    for size in (96, "native"):
        teacher = build(path, VIT, teacher_mode="frozen", teacher_size=size)
        assert teacher._networks[0].pos_embed.shape[1] == 6 * 6 + 1
        side = (96, 96)
        own = normalize(
            interpolate(pixels, side, mode="bicubic", antialias=True), [0.5] * 3, [0.5] * 3
        )
        with torch.no_grad():
            expected = source(own)
        found = features(teacher, normalize(pixels, *CIFAR))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert build(path, VIT)._modules["backbone"].pos_embed.shape[1] == 4 * 4 + 1


def test_one_line_says_what_it_sees(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "solo_rekd"):
        build(file, teacher_size=96)
    (line,) = [each for each in caplog.messages if " sees " in each]
    for part in ("resnet18", "0.485 0.456 0.406", "0.229", "96 px", "ImageNet", "stem imagenet"):
        assert part in line


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_file_that_may_be_another_paper_s_is_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(build_backbone(VIT, 64).state_dict(), path := tmp_path / "t.pth")
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        build(path, VIT)
        (line,) = warnings_in(caplog)
        assert "teacher_mean=0.485" in line and "\n" not in line
        build(path, VIT, teacher_mean=(0.5,) * 3, teacher_std=(0.5,) * 3)
    assert len(warnings_in(caplog)) == 1


def test_colours_of_a_student_that_are_not_known(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        teacher = build(file, colours=())
    assert teacher.views is None and teacher.identity["mean"] is None
    assert len(warnings_in(caplog)) == 1 and "as they are" in caplog.text
    with pytest.raises(UserError, match=r"^teacher_mean=.* expected auto "):
        build(file, colours=(), teacher_mean=(0.5,) * 3)


def test_a_size_that_nothing_tells(tmp_path: Path) -> None:
    state = build_backbone("resnet18", 32).state_dict()
    tensors = {f"encoder.{key}": value for key, value in state.items()}
    tensors["classifier.weight"] = torch.zeros(3, 512)
    torch.save({"state_dict": tensors}, path := tmp_path / "t.ckpt")
    with pytest.raises(UserError, match="teacher_size=N"):
        build(path, teacher_size="native")
