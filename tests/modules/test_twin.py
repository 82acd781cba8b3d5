from torch import nn
from torchvision.ops import StochasticDepth

from solo_rekd.backbones import build_backbone
from solo_rekd.modules.twin import switch_off_noise


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
