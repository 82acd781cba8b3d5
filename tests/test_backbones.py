import logging

import pytest
import torch
from torch import nn
from torchvision import models

from solo_rekd.backbones import (
    HOST_NAMES,
    STUDENTS,
    TEACHERS,
    build_backbone,
    is_known,
)
from solo_rekd.images.data_sets import SMALL_IMAGE
from solo_rekd.utils.errors import UserError

# name -> (features, side of the last map for 32 px inputs with the small stem)
EXPECTED = {
    "alexnet": (256, 1),
    "mobilenet_v3_large": (1280, 4),
    "mobilenet_v3_small": (1024, 4),
    "shufflenet_v2_x1_0": (1024, 4),
    "efficientnet_b0": (1280, 4),
    "resnet18": (512, 5),
    "resnet34": (512, 5),
    "resnet50": (2048, 5),
    "resnet101": (2048, 5),
    "resnet152": (2048, 5),
    "resnet50x2": (4096, 5),
}
LARGE = ("resnet101", "resnet152", "resnet50x2")
every_name = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in EXPECTED],
)


def watch_map_sides(net: nn.Module) -> list[int]:
    """A list that each forward pass fills with the sides of all maps, the last map's last."""
    sides: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(lambda _module, _args, out: sides.append(out.shape[-1]))
    return sides


def cifar_resnet18() -> nn.Module:
    """What the host makes of torchvision's ResNet-18 on CIFAR."""
    net = models.resnet18()
    net.fc = nn.Identity()
    net.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
    net.maxpool = nn.Identity()
    return net


def test_the_lists_hold_every_name_once():
    assert sorted(STUDENTS + TEACHERS + HOST_NAMES) == sorted(EXPECTED)


@every_name
def test_features_at_224_px(name):
    net = build_backbone(name, 224).eval()
    with torch.no_grad():
        features = net(torch.randn(2, 3, 224, 224))
    assert features.shape == (2, net.num_features) == (2, EXPECTED[name][0])
    assert features.isfinite().all()


@every_name
def test_trains_at_32_px_with_no_idle_parameter(name):
    net = build_backbone(name, 32)
    assert net.training
    sides = watch_map_sides(net)
    features = net(torch.randn(2, 3, 32, 32))
    features.square().sum().backward()
    assert features.shape == (2, net.num_features) == (2, EXPECTED[name][0])
    assert features.isfinite().all()
    assert not [key for key, value in net.named_parameters() if value.grad is None]
    assert sides[-1] == EXPECTED[name][1]
    if "resnet" in name:
        assert net.inplanes == net.num_features  # the host reads inplanes first
    with torch.no_grad():
        assert net.eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("name", STUDENTS)
def test_trains_at_224_px(name):
    assert build_backbone(name, 224)(torch.randn(2, 3, 224, 224)).isfinite().all()


@pytest.mark.parametrize("name", STUDENTS)
def test_both_stems_load_the_same_checkpoint_save_for_the_first_convolution(name):
    small, large = (build_backbone(name, 64, stem).state_dict() for stem in ("small", "imagenet"))
    assert list(small) == list(large)
    differing = [key for key in small if small[key].shape != large[key].shape]
    assert len(differing) == (name in ("alexnet", "resnet34"))


@pytest.mark.parametrize(
    ("img_size", "stem", "kernel"),
    [
        (SMALL_IMAGE, "auto", 3),
        (SMALL_IMAGE + 1, "auto", 7),
        (SMALL_IMAGE, "imagenet", 7),
        (SMALL_IMAGE + 1, "small", 3),
    ],
)
def test_the_size_chooses_the_stem_unless_told(img_size, stem, kernel):
    assert build_backbone("resnet18", img_size, stem).conv1.kernel_size == (kernel, kernel)


def test_the_log_says_which_stem_and_why(caplog):
    caplog.set_level(logging.INFO, logger="solo_rekd")
    build_backbone("alexnet", 32)
    build_backbone("alexnet", 96)
    build_backbone("alexnet", 96, stem="small")
    build_backbone("timm:test_vit", 32)
    assert caplog.messages == [
        "alexnet: small-image stem for 32 px inputs",
        "alexnet: ImageNet stem for 96 px inputs",
        "alexnet: small-image stem as stem=small asks",
        "timm:test_vit: timm's own stem for 32 px inputs",
    ]


@pytest.mark.parametrize(("img_size", "reference"), [(32, cifar_resnet18), (96, models.resnet18)])
def test_resnet18_is_the_hosts(img_size, reference):
    host, ours = reference().eval(), build_backbone("resnet18", img_size).eval()
    host.fc = nn.Identity()
    ours.load_state_dict(host.state_dict())  # strict: the keys are torchvision's without fc
    images = torch.randn(2, 3, img_size, img_size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), host(images))


def test_resnet50x2_is_the_published_one():
    net = build_backbone("resnet50x2", 224)
    torchvision_names = models.resnet50().state_dict()
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert list(shapes) == [key for key in torchvision_names if not key.startswith("fc.")]
    assert shapes["conv1.weight"] == (128, 3, 7, 7)
    assert shapes["layer1.0.conv1.weight"] == (128, 128, 1, 1)
    assert shapes["layer1.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["layer4.2.conv3.weight"] == (4096, 1024, 1, 1)
    assert round(sum(value.numel() for value in net.parameters()) / 1e6) == 94


def test_alexnet_is_torchvisions_convolutions_with_batchnorm():
    net = build_backbone("alexnet", 224)
    reference = models.alexnet().features
    added = [layer for layer in net.features if not isinstance(layer, nn.BatchNorm2d)]
    assert [type(layer) for layer in added] == [type(layer) for layer in reference]
    for ours, theirs in zip(added, reference, strict=True):
        if isinstance(theirs, nn.Conv2d):
            assert ours.weight.shape == theirs.weight.shape
            assert (ours.stride, ours.padding) == (theirs.stride, theirs.padding)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.features) == 5
    assert not any(parameter.is_meta for parameter in net.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_mobilenet_v3_ends_in_its_hidden_layer(name):
    theirs, ours = getattr(models, name)().eval(), build_backbone(name, 224).eval()
    held = {k: v for k, v in theirs.state_dict().items() if not k.startswith("classifier.3.")}
    ours.load_state_dict(held)  # strict: the keys are torchvision's but for the classes'
    theirs.classifier[3] = nn.Identity()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_draws_nothing_at_random(name):
    net = build_backbone(name, 32)
    assert net.training
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(images), net(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", STUDENTS)
def test_state_dict_round_trip(name):
    first, second = (build_backbone(name, 32).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(second(images), first(images))


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("timm:resnet10t", 512),
        ("timm:vit_tiny_patch16_224", 192),
        ("timm:mobilenetv3_small_050", 1024),  # timm's own attribute says 288
    ],
)
def test_timm_models_at_32_px(name, width):
    net = build_backbone(name, 32)
    features = net(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, width)
    assert net.num_features == width


def test_known_names():
    assert is_known("timm:vit_tiny_patch16_224")
    assert is_known("resnet18")
    assert not is_known("resnet19")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("alexnot", 32), ["backbone='alexnot'", "alexnet", "resnet50x2", "resnet18", "timm:NAME"]),
        (("alexnot", 32, "auto", "teacher"), ["teacher='alexnot'"]),
        (("convnext_tiny", 32), ["'convnext_tiny'", "timm:convnext_tiny"]),
        (("timm:resnet10tt", 32), ["'timm:resnet10tt'", "timm:resnet10t"]),
        (("timm:resnet18.a1_in1k", 32), ["'timm:resnet18.a1_in1k'", "timm:resnet18"]),
        (("timm:hf-hub:qqqqqqqq/zzz", 32), ["timm.list_models()"]),
        (("alexnet", 32, "tiny"), ["stem='tiny'", "auto, small, imagenet"]),
        (("timm:resnet10t", 32, "small"), ["stem='small'", "auto or imagenet"]),
        (("alexnet", 32, "imagenet"), ["alexnet", "stem=imagenet", "32 px"]),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said):
    with pytest.raises(UserError) as caught:
        build_backbone(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert not [words for words in said if words not in message]
