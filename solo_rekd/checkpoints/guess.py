"""Guesses the architecture of a checkpoint by names and shapes, for the user to confirm."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from solo_rekd.backbones import HOST_NAMES, STUDENTS, TEACHERS, TIMM, build_backbone, is_known
from solo_rekd.checkpoints.beside import CONFIG, read_beside
from solo_rekd.checkpoints.fit import looks_like
from solo_rekd.checkpoints.named import named_architecture
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.images.data_sets import LARGE_IMAGE

_WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
# common networks, besides ResNets and plain ViTs, which are recognised by their tensors
POPULAR = tuple(
    "mobilenetv3_large_100 mobilenetv3_small_100 mobilenetv2_100 efficientnet_b0 efficientnet_b1 "
    "efficientnet_lite0 convnext_tiny convnext_small convnext_base swin_tiny_patch4_window7_224 "
    "deit_tiny_distilled_patch16_224 deit_small_distilled_patch16_224 regnety_016 regnety_032 "
    "seresnet50 resnext50_32x4d densenet121 ghostnet_100 mobilenetv4_conv_small "
    "mobilevit_s fastvit_t8 repvgg_a0".split()
)


def guess_architecture(
    path: Path, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[str, str] | None:
    """Guesses the backbone of a checkpoint.

    Args:
        path: the file, which files beside it may describe.
        raw: content of the file.
        tensors: tensors of its backbone, by torchvision's or timm's names.

    Returns:
        A name of `build_backbone`, and the evidence for it; None where there is none.
    """
    trained = read_student(path, raw).get("encoder")
    if trained and is_known(trained):
        return trained, "the run that wrote it"
    resnet = looks_like(tensors)
    if resnet and is_known(resnet):
        return resnet, "its blocks and widths"
    named = named_architecture(read_beside(path, CONFIG), raw)
    if named is not None:
        return TIMM + named[0], named[1]
    vit = _vit(tensors)
    if vit is not None:
        return vit, "its width, depth and patches"
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    for name in (*STUDENTS, *TEACHERS, *HOST_NAMES, *(TIMM + model for model in POPULAR)):
        if _fits(name, shapes):
            return name, "all of its tensors"
    return None


def _fits(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    own = _shapes(name)
    return bool(own) and all(shapes.get(key) == shape for key, shape in own.items())


def _vit(tensors: Mapping[str, Tensor]) -> str | None:
    patches = tensors.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 4 or "blocks.0.norm1.weight" not in tensors:
        return None
    size = _WIDTHS.get(len(patches), "")
    side = patches.shape[-1]
    kind = ""
    if "storage_tokens" in tensors:
        kind = "_dinov3"
    elif "blocks.0.ls1.gamma" in tensors:
        kind = "_reg4_dinov2" if {"register_tokens", "reg_token"} & {*tensors} else "_dinov2"
    names = [f"vit_{size}_patch{side}{kind}", f"vit_{size}_patch{side}_224"]
    blocks = {key.split(".")[1] for key in tensors if key.startswith("blocks.")}
    for name in names if kind else names[1:]:
        own = _shapes(TIMM + name) if timm.is_model(name) else {}
        depth = {key.split(".")[1] for key in own if key.startswith("blocks.")}
        if depth == blocks:
            return TIMM + name
    return None


@cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a backbone's tensors; empty where it cannot be built."""
    for device in ("meta", "cpu"):  # older versions of timm read numbers as they build
        try:
            with torch.device(device):
                net = _build(name)
            break
        except (RuntimeError, NotImplementedError):
            continue
    else:
        return {}
    return {
        key: tuple(value.shape)
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked") and "pos" not in key
    }


def _build(name: str) -> nn.Module:
    if name.startswith(TIMM):
        return timm.create_model(name.removeprefix(TIMM), pretrained=False, num_classes=0)
    return build_backbone(name, LARGE_IMAGE, "imagenet")
