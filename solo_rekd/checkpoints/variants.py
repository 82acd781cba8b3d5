"""Networks that timm builds differently from their sources under the same name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from solo_rekd.backbones import TIMM
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CURRENT_HOST, DINO, HUGGING_FACE, MOCO_V3
from solo_rekd.checkpoints.split import SplitCheckpoint
from solo_rekd.utils.errors import UserError

_TWELVE_HEADS = (192, 384)  # widths at which timm's ViTs have fewer heads than MoCo v3's
# arguments that a configuration may pass to timm, with their types; no others are passed on
_ARGUMENTS: dict[str, type] = {
    "num_heads": int,
    "mlp_ratio": float,
    "init_values": float,
    "qkv_bias": bool,
    "qk_norm": bool,
    "class_token": bool,
    "fc_norm": bool,
    "no_embed_class": bool,
    "pre_norm": bool,
    "global_pool": str,
}
_POOLING = ("token", "avg", "avgmax", "max", "map")
_METHODS = ("mocov3", "mae")  # solo-learn's methods with ViTs of MoCo v3 and MAE


@dataclass(frozen=True)
class Variant:
    """How to build a backbone so that it computes what the source's network did.

    Attributes:
        name: name of the backbone, perhaps another than was asked for.
        options: further arguments of timm's constructor.
        pooling: description of the pooling; empty: the backbone's own.
        positions: how position embeddings are resized, see `resize_positions`; None: as timm does.
        doubt: description of what is not known; empty: nothing is in doubt.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    pooling: str = ""
    positions: str | None = None
    doubt: str = ""


def variant_of(
    name: str,
    split: SplitCheckpoint,
    method: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Variant:
    """Chooses the variant of a timm model that a checkpoint needs.

    Args:
        name: name of the backbone, as in `build_backbone`; only timm's have variants.
        split: the checkpoint.
        method: solo-learn's method that trained it, if the run's settings record it.
        config: content of the `config.json` beside it, from timm or Hugging Face.

    Raises:
        UserError: the configuration describes a network that timm does not build.
    """
    config, tensors = config or {}, split.backbone
    _refuse_config(config, split)
    if not name.startswith(TIMM):
        return Variant(name)
    told = _told_by_timm(name, config)
    if "patch_embed.proj.weight" not in tensors:
        return Variant(name, told)
    if "storage_tokens" in tensors:
        return _dinov3(name, tensors)
    options: dict[str, Any] = told
    pooling = doubt = ""
    width = len(tensors["patch_embed.proj.weight"])
    solo = split.format in (CLASSIC_HOST, CURRENT_HOST)
    if "cls_token" not in tensors and "pos_embed" in tensors:
        options |= {"class_token": False, "global_pool": "avg", "fc_norm": False}
        pooling = "mean of the patches, since the file has no class token"
    if width in _TWELVE_HEADS and (split.format == MOCO_V3 or (solo and method in _METHODS)):
        options["num_heads"] = 12
    elif width in _TWELVE_HEADS and solo and method is None:
        doubt = (
            f"the method that trained this ViT of width {width} is not recorded: timm's number of "
            "heads is assumed, but solo-learn's mocov3 and mae have 12; keep the run's args.json "
            "beside the file"
        )
    is_hugging_face = split.format == HUGGING_FACE.name
    if is_hugging_face and "dist_token" in tensors:
        doubt = (
            "the features are the mean of the class and the distillation token, as in timm; for "
            "the class token alone give the folder to --teacher huggingface"
        )
    if is_hugging_face and "blocks.0.ls1.gamma" not in tensors:
        eps = _checked("layer_norm_eps", config.get("layer_norm_eps", 1e-12), float)
        options["norm_layer"] = partial(nn.LayerNorm, eps=eps)  # of its ViT and ViT-MAE
    if is_hugging_face and "num_attention_heads" in config:
        heads = config["num_attention_heads"]
        options["num_heads"] = _checked("num_attention_heads", heads, int)
    return Variant(name, options, pooling, _positions(split), doubt)


def refuse_other(backbone: nn.Module, variant: Variant, name: str) -> None:
    """Refuses a network that has the source's tensors but computes differently.

    Args:
        backbone: backbone as a host built it.
        variant: variant that the checkpoint needs.
        name: name of the backbone, for the message.

    Raises:
        UserError: its number of heads or its pooling differs.
    """
    blocks = getattr(backbone, "blocks", None)
    attention = getattr(blocks[0], "attn", None) if isinstance(blocks, nn.Sequential) else None
    own = {
        "num_heads": getattr(attention, "num_heads", None),
        "global_pool": getattr(backbone, "global_pool", None),
    }
    for key, built in own.items():
        wanted = variant.options.get(key, built)
        if built is not None and wanted != built:
            raise UserError(
                f"the file's network has {key}={wanted!r}, but {name} is built here with "
                f"{key}={built!r}"
            )


def _told_by_timm(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a timm model was built, by timm's `config.json` beside its weights."""
    if config.get("architecture") != name.removeprefix(TIMM).partition(".")[0]:
        return {}
    held = config.get("model_args")
    args: dict[str, Any] = dict(held) if isinstance(held, Mapping) else {}
    if "vit" in name and config.get("global_pool"):
        args.setdefault("global_pool", config["global_pool"])
    given = {key: args[key] for key in _ARGUMENTS if args.get(key) is not None}
    return {key: _checked(key, value, _ARGUMENTS[key]) for key, value in given.items()}


def _checked(key: str, value: Any, kind: type) -> Any:
    """Checks type and range of a configuration's value, and returns it."""
    allowed = {int: "a whole number of 1 or more", float: "a number above 0", bool: "true or false"}
    is_number = kind in (int, float) and isinstance(value, int | float)
    fits = {
        int: is_number and not isinstance(value, bool) and 1 <= value <= 4096 and value % 1 == 0,
        float: is_number and not isinstance(value, bool) and 0 < value < 1e6,
        bool: isinstance(value, bool),
        str: value in _POOLING if isinstance(value, str) else False,
    }
    if not fits[kind]:
        limit = allowed.get(kind, ", ".join(_POOLING))
        raise UserError(f"its config.json has {key}={value!r}: expected {limit}")
    return kind(value)


def _refuse_config(config: Mapping[str, Any], split: SplitCheckpoint) -> None:
    """Refuses configurations that only Hugging Face builds under these names."""
    if split.format != HUGGING_FACE.name:
        return
    usual = {"hidden_act": ("gelu", "relu", "silu"), "downsample_in_bottleneck": (False,)}
    for key, allowed in usual.items():
        if key in config and config[key] not in allowed:
            raise UserError(
                f"its config.json has {key}={config[key]!r}, which no network of ours or timm's "
                "supports: give the folder to --teacher huggingface"
            )


def _positions(split: SplitCheckpoint) -> str | None:
    """Returns how the source resizes position embeddings; DINOv2 with registers does as timm."""
    if {"register_tokens", "reg_token"} & split.backbone.keys():
        return None
    if split.format == HUGGING_FACE.name:
        return "size"
    is_dinov2 = {"mask_token", "blocks.0.ls1.gamma"} <= split.backbone.keys()
    return "scale" if is_dinov2 or split.format == DINO else None


def _dinov3(name: str, tensors: Mapping[str, Tensor]) -> Variant:
    """DINOv3's features are its class token, and its files may have biases that timm's lack."""
    bias = tensors.get("blocks.0.attn.qkv.bias")
    if bias is not None and bias.any() and not name.endswith("_qkvb"):
        name += "_qkvb"
    return Variant(name, {"global_pool": "token"}, "class token, as DINOv3 has it")
