import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from solo_rekd.backbones import build_backbone
from solo_rekd.modules.twin import follow, switch_off_noise


def test_all_but_batchnorm_is_in_eval_mode() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), StochasticDepth(0.2, "row"))
    net.append(nn.Sequential(nn.BatchNorm2d(2), nn.Dropout2d()))
    switch_off_noise(net)
    assert [module.training for module in net] == [True, False, False, False]
    assert [module.training for module in net[3]] == [True, False]


def test_batchnorm_whose_statistics_stay_is_left_alone() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Dropout())
    switch_off_noise(net)
    assert not any(module.training for module in net)


def test_a_timm_network_with_stochastic_depth_of_its_own() -> None:
    net = build_backbone("timm:swin_tiny_patch4_window7_224", 224)
    drawing = [m for m in net.modules() if type(m).__name__ == "DropPath"]
    assert drawing and all(module.training for module in drawing)
    switch_off_noise(net)
    assert not any(module.training for module in drawing)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 1.0])
def test_a_twin_follows_by_its_momentum(momentum: float) -> None:
    torch.manual_seed(0)
    net, twin = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double() for _ in range(2))
    net[1].running_mean.add_(1)
    before = [parameter.detach().clone() for parameter in twin.parameters()]
    places = [parameter.data_ptr() for parameter in twin.parameters()]
    follow(net, twin, momentum)
    pairs = zip(net.parameters(), before, twin.parameters(), strict=True)
    for parameter, old, new in pairs:
        expected = momentum * old + (1 - momentum) * parameter.detach()
        torch.testing.assert_close(new, expected, rtol=0, atol=1e-15, check_device=False)
    assert not twin[1].running_mean.any()
    assert [parameter.data_ptr() for parameter in twin.parameters()] == places
