"""The plug-in's backbones in the current host, under its own methods."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.methods.base import BaseMethod

from solo_rekd import hosts
from solo_rekd.backbones import STUDENTS, TEACHERS
from solo_rekd.hosts.backbones import builder
from solo_rekd.utils.errors import UserError

hosts.activate()
Build = Callable[..., Any]


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v3_small", "resnet34", "timm:resnet10t"])
def test_the_hosts_own_method_trains_them(name: str, pretraining: Build) -> None:
    method = pretraining("mocov2plus", **{"backbone.name": name, "knn_eval.enabled": False})
    method.log = method.log_dict = lambda *args, **kwargs: None
    images = [torch.randn(8, 3, 32, 32) for _ in range(2)]
    loss = method.training_step([torch.arange(8), images, torch.arange(8) % 3], 0)
    loss.backward()
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in method.backbone.parameters()]
    assert all(gradient is not None for gradient in gradients)
    twin = dict(method.momentum_backbone.named_parameters())
    for key, parameter in method.backbone.named_parameters():
        assert torch.equal(parameter, twin[key]), key


@pytest.mark.parametrize("name", ["resnet34", "resnet50x2"])
def test_our_resnets_get_the_small_stem_for_small_folders(name: str, pretraining: Build) -> None:
    method = pretraining("mocov2plus", **{"backbone.name": name})
    assert method.backbone.conv1.kernel_size == (3, 3)
    assert method.features_dim == method.backbone.num_features


def test_the_hosts_resnet_is_still_the_hosts(pretraining: Build) -> None:
    # the host's online kNN is written for an older torchmetrics
    method = pretraining("mocov2plus", **{"backbone.name": "resnet18", "knn_eval.enabled": False})
    assert method.backbone.conv1.kernel_size == (7, 7)


def test_every_name_is_there() -> None:
    names = BaseMethod._BACKBONES
    assert {*STUDENTS, *TEACHERS, "resnet18", "vit_tiny"} <= set(names)
    assert "timm:resnet10t" in names and "nothing" not in names
    with pytest.raises(KeyError):
        names["nothing"]
    with pytest.raises(UserError, match=r"'timm:resnet10' is not allowed: expected .*resnet10t"):
        names["timm:resnet10"](None)


def test_other_keywords_are_refused() -> None:
    with pytest.raises(UserError, match=r"backbone.kwargs.depth=3 is not .* img_size, stem"):
        BaseMethod._BACKBONES["alexnet"]("rekd", img_size=32, depth=3)


@pytest.mark.parametrize(
    ("name", "side"),
    [("vit_tiny", 64), ("swin_tiny", 224), ("convnext_tiny", 64), ("poolformer_s12", 64)],
)
def test_an_evaluation_gets_the_hosts_own(name: str, side: int) -> None:
    backbone = builder("main")(name, "custom", side)
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, side, side))
    assert features.shape == (1, backbone.num_features)
    with pytest.raises(UserError, match="encoder='vit_tinny' is not allowed"):
        builder("main")("vit_tinny", "custom", side)
