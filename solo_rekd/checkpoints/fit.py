"""Fitting a checkpoint's tensors to a backbone: whole, or refused with the reason."""

import logging
import sys
from collections.abc import Mapping

from torch import Tensor, nn

from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")

_SHOWN = 5  # keys named in a refusal
_COUNTER = "num_batches_tracked"  # early PyTorch did not save it, and inference does not read it
_WITHOUT_HIDDEN = (
    "; it is a MobileNet-V3 without the hidden layer before its features, as solo-rekd trained "
    "them at first: train it again"
)
_RESNETS: dict[tuple[int, ...], str] = {  # whether blocks are bottlenecks, and their numbers
    (False, 2, 2, 2, 2): "resnet18",
    (False, 3, 4, 6, 3): "resnet34",
    (True, 3, 4, 6, 3): "resnet50",
    (True, 3, 4, 23, 3): "resnet101",
    (True, 3, 8, 36, 3): "resnet152",
}


def load_backbone(
    backbone: nn.Module, tensors: Mapping[str, Tensor], name: str, translate: bool = True
) -> int:
    """Copies `tensors` into `backbone`, after seeing that all are there and have its shapes.

    Args:
        backbone: the network, unchanged where the tensors are refused.
        tensors: its tensors by its own names; others are reported and left out.
        name: the architecture, for the refusal.
        translate: whether timm may rename tensors and resize position embeddings.

    Returns:
        The number of tensors that the backbone took.

    Raises:
        UserError: a tensor is missing, of another shape or type, or not finite; names the first and
            counts them.
    """
    problems = _problems(backbone, tensors)
    if problems:
        adapted = _timm_names(backbone, tensors) if translate else tensors
        if _problems(backbone, adapted):
            raise UserError(_refusal(backbone, tensors, problems, name))
        tensors = adapted
    own = backbone.state_dict()
    matched = sum(key in tensors for key in own)
    unused = [key for key in tensors if key not in own]
    if unused:
        _log.info("not part of %s, not used: %s", name, ", ".join(unused))
    backbone.load_state_dict({key: tensors.get(key, own[key]) for key in own})
    return matched


def _problems(backbone: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """What the backbone needs and `tensors` lacks: one entry a key."""
    found = []
    for key, own in backbone.state_dict().items():
        if key not in tensors:
            if not key.endswith(_COUNTER):
                found.append(f"{key} is missing")
        elif tensors[key].shape != own.shape:
            found.append(f"{key} is {_size(tensors[key])} instead of {_size(own)}")
        elif own.is_floating_point() and not tensors[key].is_floating_point():
            found.append(f"{key} is {tensors[key].dtype}, not of floating point")
        elif not tensors[key].isfinite().all():
            found.append(f"{key} is not finite")
    return found


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _refusal(
    backbone: nn.Module, tensors: Mapping[str, Tensor], problems: list[str], name: str
) -> str:
    missing = sum(problem.endswith("missing") for problem in problems)
    looks = looks_like(tensors)
    has = f"it has {', '.join([*tensors][:_SHOWN])}"
    return (
        f"does not fit {name}: of its {len(backbone.state_dict())} tensors {missing} are "
        f"missing and {len(problems) - missing} are of another kind: "
        + "; ".join(problems[:_SHOWN])
        + ("; ..." if len(problems) > _SHOWN else "")
        + (f"; it looks like {looks}" if looks not in (None, name) else f"; {has}")
        + (_WITHOUT_HIDDEN if _lacks_hidden(problems, name) else "")
    )


def _lacks_hidden(problems: list[str], name: str) -> bool:
    """Whether nothing but the hidden layer of MobileNet-V3 is missing."""
    return name.startswith("mobilenet_v3") and all(
        problem.startswith("classifier.0.") for problem in problems
    )


def looks_like(tensors: Mapping[str, Tensor]) -> str | None:
    """The ResNet that has these tensors, by its blocks and widths; None for anything else."""
    counts = (
        len({key.split(".")[1] for key in tensors if key.startswith(f"layer{layer}.")})
        for layer in (1, 2, 3, 4)
    )
    name = _RESNETS.get(("layer1.0.conv3.weight" in tensors, *counts))
    stem, inner = tensors.get("conv1.weight"), tensors.get("layer1.0.conv2.weight")
    if name is None or stem is None or inner is None or inner.shape[:2] != (len(stem),) * 2:
        return None  # ResNeXt and wide_resnet share the block counts
    return name if len(stem) == 64 else f"{name}x{len(stem) / 64:g}"


def _timm_names(backbone: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Lets timm translate a paper's own names, as DINOv2's, and resize position embeddings."""
    module = sys.modules[type(backbone).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None)
    if translate is None:
        return tensors
    try:
        translated: dict[str, Tensor] = translate(dict(tensors), backbone)
    except Exception:  # timm's filters take the right keys for granted
        return tensors
    resized = [key for key in tensors if key in translated and _resized(tensors, translated, key)]
    if any("pos" not in key for key in resized):
        return tensors  # other patches are another architecture, which timm would resample
    _log.info("names translated by timm; resized: %s", ", ".join(resized) or "none")
    return translated


def _resized(old: Mapping[str, Tensor], new: Mapping[str, Tensor], key: str) -> bool:
    return old[key].shape != new[key].shape and old[key].ndim == new[key].ndim
