"""What a teacher says of the student's views is what it says of its own preprocessing of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize

from solo_rekd.backbones import build_backbone
from solo_rekd.objectives import OBJECTIVES, Batch, HostRun
from solo_rekd.objectives.bags import embed_images

CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FROZEN = ("bingo", "coss")  # what they find once needs a teacher that does not change
CASES = [
    (name, mode)
    for name in OBJECTIVES
    for mode in ("online", "frozen")
    if mode == "frozen" or name not in FROZEN
]


@pytest.fixture(scope="module")
def alone() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("resnet18", 224).eval()


@pytest.fixture(scope="module")
def file(alone: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.save(alone.state_dict(), path := tmp_path_factory.mktemp("teacher") / "t.pth")
    return path


def build(name: str, mode: str, file: Path) -> Any:
    given: dict[str, Any] = {"teacher": "resnet18", "teacher_checkpoint": str(file)}
    given |= {"teacher_mode": mode, "teacher_size": 48, "proj_hidden_dim": 8, "queue_size": 128}
    width = 512 if mode == "frozen" else 8
    config = OBJECTIVES[name].config_class(**given, proj_output_dim=width)
    return OBJECTIVES[name](config, HostRun(6, 3, 32, 1, *CIFAR))


def pixels(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator) / 255


def own(images: Tensor) -> Tensor:
    return normalize(interpolate(images, (48, 48), mode="bicubic", antialias=True), *IMAGENET)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_every_objective_is_taught_so(name: str, mode: str, file: Path, alone: nn.Module) -> None:
    objective = build(name, mode, file)
    views = [normalize(pixels(seed), *CIFAR) for seed in (0, 1)]
    nothing = [torch.zeros(2, 6)] * 2
    taught, *_ = objective.teach(
        Batch(views, nothing, nothing, torch.tensor([0, 1]), torch.tensor([0, 1]))
    )
    for seed, features in enumerate(taught.features):
        with torch.no_grad():
            expected = alone(own(pixels(seed)))
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)


def test_bags_are_of_the_same_features(file: Path, alone: nn.Module) -> None:
    images = [(index, normalize(pixels(3)[index], *CIFAR)) for index in (0, 1)]
    teacher = build("bingo", "frozen", file).teacher
    features, _ = embed_images(teacher, DataLoader(images, batch_size=2), torch.device("cpu"))
    with torch.no_grad():
        expected = nn.functional.normalize(alone(own(pixels(3))), dim=1)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
