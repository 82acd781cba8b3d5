"""Which memory format a network gets, and that its numbers do not depend on it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from solo_rekd.backbones import build_backbone
from solo_rekd.memory_format import choose, convolves, is_channels_last, lay_out
from solo_rekd.modules.twin import switch_off_noise

FAMILIES = (  # one network of each
    *("alexnet", "resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x1_0"),
    *("timm:regnetx_002", "timm:convnext_atto"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_with_convolutions_lies_channels_last(name: str) -> None:
    network = build_backbone(name, 32)
    assert not is_channels_last(network)
    lay_out(network, choose(network).name)
    assert is_channels_last(network)
    lay_out(network, "contiguous")
    assert not is_channels_last(network)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:mixer_s16_224"])
def test_a_network_of_patches_stays_as_it_is(name: str) -> None:
    network = build_backbone(name, 224)
    assert not convolves(network)
    assert choose(network).name == "contiguous"
    assert choose(network, gpu=True, half=True).name == "channels_last"


def test_what_is_asked_for_is_chosen() -> None:
    for name in ("channels_last", "contiguous"):
        assert choose(nn.Conv2d(3, 8, 3), name, gpu=True, half=True).name == name


def step(network: nn.Module, images: Tensor, directions: Tensor) -> tuple[float, Tensor]:
    """The loss of a training step, and all gradients in one vector."""
    loss = (nn.functional.normalize(network(images)) * directions).sum()
    loss.backward()
    found = [each.grad.flatten() for each in network.parameters() if each.grad is not None]
    return float(loss.detach()), torch.cat(found).double()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_differs_by_rounding_alone(name: str) -> None:
    """A value at a ReLU's corner falls to either side of it, which moves the gradient most."""
    torch.manual_seed(0)
    network = build_backbone(name, 32)
    switch_off_noise(network)
    images, directions = torch.rand(8, 3, 32, 32), torch.randn(8, network.num_features)
    nets = {"float64": copy.deepcopy(network).double(), "contiguous": network}
    nets["channels_last"] = copy.deepcopy(network)
    lay_out(nets["channels_last"], "channels_last")
    loss, gradient = step(nets["float64"], images.double(), directions.double())
    for label in ("contiguous", "channels_last"):
        found_loss, found = step(nets[label], images, directions)
        assert found_loss == pytest.approx(loss, abs=1e-3)
        assert float((found - gradient).norm() / gradient.norm()) < 0.05
