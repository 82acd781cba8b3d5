"""Fixtures of a ResNet-18 whose every weight matters, and of images for it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from solo_rekd.backbones import build_backbone


def _shake(module: nn.Module, seed: int) -> nn.Module:
    """Moves every weight and BatchNorm statistic off its start value, so that each one matters."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return module.eval()


@pytest.fixture(scope="session")
def shake() -> Callable[[nn.Module, int], nn.Module]:
    return _shake


@pytest.fixture(scope="session")
def source() -> nn.Module:
    """The network whose weights the checkpoints hold: solo-learn's CIFAR ResNet-18."""
    torch.manual_seed(0)
    return _shake(build_backbone("resnet18", 32, "small"), seed=1)


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
