from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from solo_rekd.errors import UserError

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
ONE_STEP = {"limit_train_batches": 1, "limit_val_batches": 1, "batch_size": 4}


@pytest.mark.parametrize(
    ("method", "encoder"),
    [
        ("simclr", "alexnet"),
        ("simclr", "mobilenet_v3_small"),
        ("simclr", "resnet34"),
        ("mocov2plus", "mobilenet_v3_small"),
        ("mocov2plus", "timm:resnet10t"),
        ("rekd", "timm:resnet10t"),
    ],
)
def test_trains_and_is_evaluated(
    method: str, encoder: str, host: ModuleType, train: Train, flags: Flags
) -> None:
    run = train(method, encoder=encoder, **ONE_STEP)
    losses = ("train_nce_loss", "train_class_loss")
    assert all(torch.tensor(run["metrics"][name]).isfinite() for name in losses)
    checkpoint = {"pretrained_feature_extractor": run["checkpoint"], "encoder": encoder}
    result = host.linear(flags("linear", **checkpoint, **ONE_STEP))
    assert 0 <= result["top1"] <= result["top5"] <= 100


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("alexnet", True),
        ("resnet34", True),
        ("resnet101", True),
        ("timm:resnet10t", True),
        ("resnet18", False),
        ("resnet50", False),
        ("vit_tiny", False),
        ("no_such_net", False),
    ],
)
def test_who_builds_an_encoder(name: str, ours: bool, host: ModuleType) -> None:
    from solo_rekd.hosts.classic_backbones import is_ours

    assert is_ours(name) == ours


def test_host_offers_our_encoders_and_its_own(host: ModuleType) -> None:
    from solo.methods.base import BaseMethod

    names = BaseMethod._SUPPORTED_ENCODERS
    assert {"resnet18", "vit_tiny", "swin_large", "alexnet", "resnet50x2"} <= set(names)
    assert "timm:resnet10t" in names
    assert "no_such_net" not in names


def test_unknown_timm_model_is_refused(train: Train) -> None:
    with pytest.raises(UserError, match=r"timm:resnet10x.* expected timm:resnet10t"):
        train("simclr", encoder="timm:resnet10x")


def test_hosts_own_vit_still_comes_through_the_door(host: ModuleType) -> None:
    from solo_rekd.hosts.classic_backbones import build_encoder

    net = build_encoder("vit_tiny", {"cifar": False, "img_size": 32, "patch_size": 8})
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 192)
    assert net.patch_embed.proj.kernel_size == (8, 8)


@pytest.mark.parametrize(("cifar", "kernel"), [(True, 3), (False, 7)])
def test_hosts_resnet_has_the_hosts_stem(cifar: bool, kernel: int, host: ModuleType) -> None:
    from solo_rekd.hosts.classic_backbones import build_encoder

    net = build_encoder("resnet18", {"cifar": cifar})
    assert net.conv1.kernel_size == (kernel, kernel)
    assert isinstance(net.maxpool, nn.Identity) == cifar
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_encoder_is_built_for_the_size_of_the_crops(host: ModuleType) -> None:
    from solo_rekd.hosts.classic_backbones import backbone_args, build_encoder

    for size, kernel in ((32, 3), (224, 11)):
        net = build_encoder("vit_tiny", backbone_args("alexnet", size))
        assert net.features[0].kernel_size == (kernel, kernel)
