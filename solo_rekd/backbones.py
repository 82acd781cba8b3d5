"""Small students and large teachers that the host lacks, each ending in pooled features.

Classifiers are dropped, except for the hidden layer of MobileNet-V3's: SEED (arXiv 2101.04731) and
DisCo (arXiv 2104.09124) use its 1280 outputs as features.

The small stem keeps more of a 32 to 64 px input: all but AlexNet then reduce the input by 8
instead of 32, as the host's ResNets do on CIFAR.
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import Bottleneck, ResNet

from solo_rekd.config import RESNET_STEMS, STEMS, TEACHER_STEMS
from solo_rekd.images.data_sets import SMALL_IMAGE
from solo_rekd.utils.errors import UserError, nearest_first, refuse

TIMM = "timm:"

_log = logging.getLogger("solo_rekd")


class _ResNet50x2(ResNet):
    """ResNet-50 with every width doubled: the "2x" of SimCLR (arXiv 2002.05709) and SwAV (w2).

    4096 features, 94 M parameters, torchvision's parameter names. torchvision's own
    `wide_resnet50_2` is another network: it widens the 3x3 convolutions only.
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        self.conv1 = nn.Conv2d(3, 128, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(128)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        if planes == 64:
            self.inplanes = 128  # the first layer reads the doubled stem
        return super()._make_layer(block, 2 * planes, *args, **kwargs)


def _alexnet() -> nn.Module:
    """torchvision's five AlexNet convolutions with BatchNorm, pooled to 256 features.

    FC6 and FC7 are left out: RotNet (arXiv 1803.07728) and DeepCluster (arXiv 1807.05520) evaluate
    AlexNet with linear classifiers on its convolutions, and the two layers would be 96% of the
    student. Those papers also have BatchNorm after each convolution. Averaging conv5 over its
    whole map, for one vector per image, is ours. CompRess (arXiv 2010.14713) differs: it has no
    BatchNorm, and its classifier reads FC7.
    """
    with torch.device("meta"):  # avoids initialising 59 M parameters that are dropped
        net = models.alexnet()
    layers: list[nn.Module] = []
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            channels = (layer.in_channels, layer.out_channels)
            geometry: Any = dict(
                kernel_size=layer.kernel_size, stride=layer.stride, padding=layer.padding
            )
            layers.append(nn.Conv2d(*channels, **geometry, bias=False))
            layers.append(nn.BatchNorm2d(layer.out_channels))
        else:
            layers.append(layer)
    net.features = nn.Sequential(*layers)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    return net


def _efficientnet_b0() -> nn.Module:
    """torchvision's EfficientNet-B0 without stochastic depth, as in DisCo (arXiv 2104.09124).

    In train mode, torchvision's drops blocks with a probability of up to 0.19, also for the
    momentum keys. It is a regulariser for supervised training.
    """
    return models.efficientnet_b0(stochastic_depth_prob=0.0)


def _small_resnet(net: Any) -> None:
    """Sets the host's CIFAR stem, including its padding of 2, so that its checkpoints fit."""
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, stride=1, padding=2, bias=False)
    net.maxpool = nn.Identity()


def _reshape_resnet(net: Any, stem: str) -> None:
    """Sets the first convolution and pooling of a ResNet from torchvision or timm."""
    kernel, stride, padding, pools = RESNET_STEMS[stem]
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, kernel, stride, padding, bias=False)
    if not pools:
        net.maxpool = nn.Identity()


def _small_alexnet(net: Any) -> None:
    """Sets a stem with maps of 16, 7, 3 and 1 px for 32 px; the 11x11 convolution leaves none."""
    net.features[0] = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)


def _small_shufflenet(net: Any) -> None:
    net.conv1[0].stride = (1, 1)
    net.maxpool = nn.Identity()


def _small_mobile(net: Any) -> None:
    """Removes the strides of the stem and the first block; the weights keep their shapes."""
    strided = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    for conv in strided[:2]:
        conv.stride = (1, 1)


# name -> constructor without weights, and what makes its stem small
_Recipe = tuple[Callable[[], nn.Module], Callable[[Any], None]]
_STUDENTS: dict[str, _Recipe] = {
    "alexnet": (_alexnet, _small_alexnet),
    "mobilenet_v3_large": (models.mobilenet_v3_large, _small_mobile),
    "mobilenet_v3_small": (models.mobilenet_v3_small, _small_mobile),
    "shufflenet_v2_x1_0": (models.shufflenet_v2_x1_0, _small_shufflenet),
    "efficientnet_b0": (_efficientnet_b0, _small_mobile),
    "resnet34": (models.resnet34, _small_resnet),
}
_TEACHERS: dict[str, _Recipe] = {
    "resnet101": (models.resnet101, _small_resnet),
    "resnet152": (models.resnet152, _small_resnet),
    "resnet50x2": (_ResNet50x2, _small_resnet),
}
_HOST: dict[str, _Recipe] = {  # the host has these too, but teachers are built here
    "resnet18": (models.resnet18, _small_resnet),
    "resnet50": (models.resnet50, _small_resnet),
}
_RECIPES = _STUDENTS | _TEACHERS | _HOST
STUDENTS: tuple[str, ...] = tuple(_STUDENTS)
TEACHERS: tuple[str, ...] = tuple(_TEACHERS)
HOST_NAMES: tuple[str, ...] = tuple(_HOST)


def is_known(name: str) -> bool:
    """Whether `build_backbone` has a recipe for `name`; timm itself checks a `timm:NAME`."""
    return name in _RECIPES or name.startswith(TIMM)


def refuse_unknown(key: str, name: str, others: Iterable[str] = ()) -> None:
    """Raises a UserError for an unknown backbone, with similar names.

    Args:
        key: name of the setting.
        name: name of the backbone, as in `build_backbone`. A host has some of timm's models without
            `timm:`.
        others: further known names.
    """
    known = dict.fromkeys((*_RECIPES, *others))
    if name in known:
        return
    models = timm.list_models()
    if not name.startswith(TIMM):
        near = [match for match in models if match.startswith(name)][:5]
        names = [*known, *(TIMM + match for match in near or ["NAME"])]
        raise refuse(key, name, nearest_first(name, names))
    model = name.removeprefix(TIMM)
    if model not in models:
        near = difflib.get_close_matches(model, models, n=5)
        raise refuse(key, name, [TIMM + match for match in near] or "a name of timm.list_models()")


def build_backbone(
    name: str,
    img_size: int,
    stem: str = "auto",
    key: str = "backbone",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Builds a backbone with random weights and without its classifier.

    Args:
        name: one of `STUDENTS`, `TEACHERS`, `HOST_NAMES`, or `timm:NAME`.
        img_size: side of the square inputs, in px.
        stem: `small`, `imagenet`, or `auto`: small for inputs of `SMALL_IMAGE` px or less; for a
            ResNet also one of `RESNET_STEMS`. Any other timm model only has its own stem.
        key: name of the setting, for messages.
        options: further arguments of timm's constructor.

    Returns:
        A module in train mode that maps images (B, 3, img_size, img_size) to pooled features
        (B, num_features), with the integer `num_features` as an attribute.

    Raises:
        UserError: the name or the stem is unknown, or the network cannot take inputs that small.
    """
    if stem not in TEACHER_STEMS:
        raise refuse("stem", stem, TEACHER_STEMS)
    refuse_unknown(key, name)
    try:
        if name.startswith(TIMM):
            net, choice = _build_timm(name, img_size, stem, options or {}), "timm's own"
        else:
            small = settle_stem(name, img_size, stem) == "small"
            net, choice = _build_own(name, small), "small-image" if small else "ImageNet"
        if stem in RESNET_STEMS:
            _refuse_other_than_resnet(name, net, stem)
            _reshape_resnet(net, stem)
            choice = stem
        net.num_features = _features(net, img_size)  # type: ignore[assignment]
    except UserError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        cause = str(error).partition("\n")[0]
        hint = ": give teacher_size=N, in px" if key == "teacher" else ""
        message = f"{name} with stem={stem} cannot take {img_size} px: {cause}{hint}"
        raise UserError(message) from error
    reason = f"for {img_size} px inputs" if stem == "auto" else f"as stem={stem} asks"
    _log.info("%s: %s stem %s", name, choice, reason)
    return net


def settle_stem(name: str, img_size: int, stem: str) -> str:
    """Returns the stem that `build_backbone` chooses for `auto`; timm models keep `auto`."""
    if stem != "auto" or name.startswith(TIMM):
        return stem
    return "small" if img_size <= SMALL_IMAGE else "imagenet"


def make_stem_small(name: str, net: nn.Module) -> None:
    """Gives one of our networks, or a host's ResNet, its stem for small images, in place."""
    _RECIPES[name][1](net)


def _build_own(name: str, small: bool) -> nn.Module:
    net: Any = _RECIPES[name][0]()
    if name.startswith("mobilenet_v3"):
        net.classifier = net.classifier[:2]  # hidden layer and activation: no dropout, no classes
    else:
        setattr(net, "fc" if hasattr(net, "fc") else "classifier", nn.Identity())
    if small:
        make_stem_small(name, net)
    return net


def _refuse_other_than_resnet(name: str, net: nn.Module, stem: str) -> None:
    conv = getattr(net, "conv1", None)
    if not (name.removeprefix(TIMM).startswith("resnet") and isinstance(conv, nn.Conv2d)):
        raise refuse("stem", stem, f"{', '.join(STEMS)} with {name}")


def _build_timm(name: str, img_size: int, stem: str, options: Mapping[str, Any]) -> nn.Module:
    if stem == "small":
        raise refuse("stem", stem, f"auto or imagenet with {name}")
    model = name.removeprefix(TIMM)
    config = timm.get_pretrained_cfg(model)  # other models accept any size, but not this argument
    size: dict[str, Any] = {"img_size": img_size} if config and config.fixed_input_size else {}
    return timm.create_model(model, pretrained=False, num_classes=0, **size, **options)


@torch.no_grad()
def _features(net: nn.Module, img_size: int) -> int:
    """Measures the width of the output: timm's attribute is sometimes another layer's."""
    features = net.eval()(torch.zeros(1, 3, img_size, img_size))
    net.train()
    return int(features.shape[1])
