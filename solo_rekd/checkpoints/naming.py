"""Translates other libraries' parameter names to torchvision's and timm's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

HUGGING_FACE = "Hugging Face transformers"
OPENMMLAB = "OpenMMLab"

_Tensors = dict[str, Tensor]
_WITH_POOLING = 4  # where the blocks begin after convolution, norm, ReLU and pooling
_PROJECTION = re.compile(r"(.+\.attn)\.([qkv])\.(weight|bias)")


@dataclass(frozen=True)
class Naming:
    """How one library names the parts of a network.

    Attributes:
        name: name of the library.
        known_by: pattern of a key that only this naming has.
        rules: patterns with their replacements, applied to every key in order.
        finish: function that finishes the tensors.
    """

    name: str
    known_by: str
    rules: tuple[tuple[str, str], ...]
    finish: Callable[[_Tensors], _Tensors] = dict


def translate(tensors: Mapping[str, Tensor]) -> tuple[_Tensors, str | None]:
    """Renames the tensors of a network as torchvision or timm has them.

    Args:
        tensors: tensors of a backbone, by any library's names.

    Returns:
        The tensors by torchvision's or timm's names, and the name of the library; None if they
        already had these names.
    """
    for naming in NAMINGS:
        if any(re.search(naming.known_by, key) for key in tensors):
            return naming.finish(_renamed(tensors, naming.rules)), naming.name
    return dict(tensors), None


def _renamed(tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> _Tensors:
    renamed = {}
    for key, value in tensors.items():
        new = key
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        renamed[new] = value
    return renamed


def _fuse_attention(tensors: _Tensors) -> _Tensors:
    """Stacks the weights of query, key and value as timm does; a missing bias among them is 0."""
    fused, parts = {}, {}
    for key, value in tensors.items():
        found = _PROJECTION.fullmatch(key)
        if found:
            parts[found.groups()] = value
        else:
            fused[key] = value
    for attention, kind in dict.fromkeys((block, kind) for block, _, kind in parts):
        held = [parts.get((attention, part, kind)) for part in "qkv"]
        some = next(value for value in held if value is not None)
        fused[f"{attention}.qkv.{kind}"] = torch.cat(
            [torch.zeros_like(some) if value is None else value for value in held]
        )
    return fused


def _by_places(tensors: _Tensors) -> _Tensors:
    """Names the children of a ResNet in an `nn.Sequential` by their positions."""
    blocks = sorted(
        {int(key.split(".")[0]) for key in tensors if re.match(r"\d+\.0\.conv1\.", key)}
    )
    if blocks[0] != _WITH_POOLING and tensors.get("0.weight", torch.empty(0)).shape[-1:] == (7,):
        return tensors  # without the pooling that every 7x7 stem is taken to have
    names = {"0": "conv1", "1": "bn1"} | {
        str(place): f"layer{number}" for number, place in enumerate(blocks, 1)
    }
    named = {}
    for key, value in tensors.items():
        place, _, rest = key.partition(".")
        named[f"{names.get(place, place)}.{rest}"] = value
    return _renamed(named, _SHORTCUT)


_SHORTCUT = ((r"\.shortcut\.(\d+)\.", r".downsample.\1."), (r"^linear\.", "fc."))
_HF_RESNET = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    # it counts stages and layers from 0, torchvision from 1
    *((rf"^encoder\.stages\.{i}\.layers\.", f"layer{i + 1}.") for i in range(4)),
    *((rf"\.layer\.{i}\.convolution\.", f".conv{i + 1}.") for i in range(3)),
    *((rf"\.layer\.{i}\.normalization\.", f".bn{i + 1}.") for i in range(3)),
)
_HF_VIT = (
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.", ""),
    (r"^(encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.attention\.(q|k|v)[a-z]+\.", r".attn.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"^layernorm\.", "norm."),
)
# DINOv3's own names, which timm reads
_HF_DINOV3 = (*_HF_VIT, (r"^register_tokens$", "storage_tokens"))
_GATED = ((r"\.gate_proj\.", ".w1."), (r"\.up_proj\.", ".w2."), (r"\.down_proj\.", ".w3."))
_PLAIN = ((r"\.up_proj\.", ".fc1."), (r"\.down_proj\.", ".fc2."))

NAMINGS: tuple[Naming, ...] = (
    Naming(HUGGING_FACE, r"^embedder\.embedder\.convolution\.", _HF_RESNET),
    Naming(HUGGING_FACE, r"\.mlp\.gate_proj\.", (*_HF_DINOV3, *_GATED), _fuse_attention),
    Naming(HUGGING_FACE, r"\.mlp\.up_proj\.", (*_HF_DINOV3, *_PLAIN), _fuse_attention),
    Naming(HUGGING_FACE, r"^embeddings\.patch_embeddings\.", _HF_VIT, _fuse_attention),
    Naming(
        OPENMMLAB,
        r"^layers\.\d+\.ln1\.",
        (
            (r"^patch_embed\.projection\.", "patch_embed.proj."),
            (r"^layers\.(\d+)\.", r"blocks.\1."),
            (r"\.ln(1|2)\.", r".norm\1."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
            (r"\.(attn|ffn)\.gamma(1|2)\.weight$", r".ls\2.gamma"),
            (r"^ln1\.", "norm."),
        ),
    ),
    Naming(
        "torchvision's ViT",
        r"^encoder\.layers\.encoder_layer_\d+\.",
        (
            (r"^conv_proj\.", "patch_embed.proj."),
            (r"^class_token$", "cls_token"),
            (r"^encoder\.pos_embedding$", "pos_embed"),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
            (r"\.ln_(1|2)\.", r".norm\1."),
            (r"\.self_attention\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
            (r"\.self_attention\.out_proj\.", ".attn.proj."),
            (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
            (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
            (r"^encoder\.ln\.", "norm."),
        ),
    ),
    Naming(
        "DINOv2 in chunks of blocks",
        r"^blocks\.\d+\.\d+\.attn\.qkv\.",
        ((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),),
    ),
    Naming("a ResNet in an nn.Sequential", r"^\d+\.0\.conv1\.", (), _by_places),
    Naming("a ResNet with shortcuts", r"^layer\d\.\d+\.shortcut\.\d", _SHORTCUT),
)
