"""Fitting a checkpoint's tensors to a backbone: whole, or refused with the reason."""

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from solo_rekd.checkpoints.leftovers import TOKENS, of_another_network, of_unknown_use
from solo_rekd.checkpoints.positions import resize_positions
from solo_rekd.utils.errors import UserError, one_line

_log = logging.getLogger("solo_rekd")

_SHOWN = 5  # keys named in a refusal
_COUNTER = "num_batches_tracked"  # early PyTorch did not save it, and inference does not read it
_WITHOUT_HIDDEN = (
    "; it is a MobileNet-V3 without the hidden layer before its features, as early versions of "
    "solo-rekd trained it: train it again"
)
_RESNETS: dict[tuple[int, ...], str] = {  # whether blocks are bottlenecks, and their numbers
    (False, 2, 2, 2, 2): "resnet18",
    (False, 3, 4, 6, 3): "resnet34",
    (True, 3, 4, 6, 3): "resnet50",
    (True, 3, 4, 23, 3): "resnet101",
    (True, 3, 8, 36, 3): "resnet152",
}


@dataclass(frozen=True)
class Fitted:
    """How a checkpoint's tensors fit a backbone.

    Attributes:
        matched: number of tensors that the backbone took.
        left_out: keys of the others, by the file's names without prefix.
        resized: keys of position embeddings that were resized to another grid.
    """

    matched: int
    left_out: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()


def load_backbone(
    backbone: nn.Module,
    tensors: Mapping[str, Tensor],
    name: str,
    translate: bool = True,
    positions: str | None = None,
) -> Fitted:
    """Copies `tensors` into `backbone`, after checking that all exist and have its shapes.

    Args:
        backbone: the network; unchanged if the tensors are refused.
        tensors: its tensors by its own names; others are reported and left out.
        name: name of the architecture, for messages.
        translate: whether timm may rename tensors and resize position embeddings.
        positions: how position embeddings are resized, see `resize_positions`; None: as timm does.

    Returns:
        How the tensors fit.

    Raises:
        UserError: a tensor is missing, has another shape or type, or is not finite; or a further
            tensor shows that the file is from a different network. It names the first ones and
            counts them.
    """
    given = tensors
    if positions is not None:
        tensors = _with_positions(backbone, tensors, positions)
    problems = _problems(backbone, tensors)
    own = backbone.state_dict()
    if problems:
        adapted = _timm_names(backbone, tensors) if translate else tensors
        if _problems(backbone, adapted):
            _refuse_foreign([key for key in given if key in TOKENS and key not in own], given, name)
            raise UserError(_refusal(backbone, given, problems, name))
        tensors = adapted
    used = {key: tensors[key] for key in own if key in tensors}
    left_out = [key for key in given if key not in used and not _is_in(given[key], used)]
    _refuse_foreign(of_another_network(left_out, own, given), given, name)
    unknown = of_unknown_use(left_out)
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        _log.warning("%s does not use %d tensors: %s", name, len(unknown), one_line(shown))
    backbone.load_state_dict({key: tensors.get(key, own[key]) for key in own})
    resized = tuple(key for key in given if key in used and given[key].shape != used[key].shape)
    return Fitted(len(used), tuple(left_out), resized)


def _refuse_foreign(keys: list[str], tensors: Mapping[str, Tensor], name: str) -> None:
    """Raises a UserError for keys that compute the features of another network."""
    if keys:
        raise UserError(
            f"is from a different network than {name}: {len(keys)} tensors that compute its "
            f"features do not exist in {name}, the first {', '.join(keys[:_SHOWN])}"
            f"{_hint(tensors, name)}"
        )


def _is_in(tensor: Tensor, others: Mapping[str, Tensor]) -> bool:
    """Whether a tensor, or a part of it, is among `others`, under whatever name."""
    start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    return any(start <= other.data_ptr() < end for other in others.values())


def _with_positions(
    backbone: nn.Module, tensors: Mapping[str, Tensor], manner: str
) -> Mapping[str, Tensor]:
    """Resizes the position embeddings to the backbone's grid, where both have one class token."""
    own, held = getattr(backbone, "pos_embed", None), tensors.get("pos_embed")
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if own is None or held is None or grid is None or held.ndim != 3 or grid[0] != grid[1]:
        return tensors
    is_square = math.isqrt(held.shape[1] - 1) ** 2 == held.shape[1] - 1
    if not is_square or own.shape[1] != grid[0] * grid[1] + 1 or held.shape[-1] != own.shape[-1]:
        return tensors
    return {**tensors, "pos_embed": resize_positions(held, grid[0], manner)}


def _hint(tensors: Mapping[str, Tensor], name: str) -> str:
    looks = looks_like(tensors)
    return f"; it looks like {looks}" if looks not in (None, name) else ""


def _problems(backbone: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Lists what the backbone needs and `tensors` lacks, one entry per key."""
    found = []
    for key, own in backbone.state_dict().items():
        if key not in tensors:
            if not key.endswith(_COUNTER):
                found.append(f"{key} is missing")
        elif tensors[key].shape != own.shape:
            found.append(f"{key} is {_size(tensors[key])} instead of {_size(own)}")
        elif own.is_floating_point() and not tensors[key].is_floating_point():
            found.append(f"{key} is {tensors[key].dtype}, not of floating point")
        elif not is_finite(tensors[key]):
            found.append(f"{key} is not finite")
    return found


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither infinity nor NaN; torch cannot check 8-bit tensors."""
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.float()
    return bool(tensor.isfinite().all())


def refuse_not_finite(head: Mapping[str, Tensor]) -> None:
    """Raises a UserError where a tensor of a projector is not finite."""
    for key, tensor in head.items():
        if not is_finite(tensor):
            raise UserError(f"{key} of its projector is not finite")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _refusal(
    backbone: nn.Module, tensors: Mapping[str, Tensor], problems: list[str], name: str
) -> str:
    missing = sum(problem.endswith("missing") for problem in problems)
    return (
        f"does not fit {name}: of its {len(backbone.state_dict())} tensors {missing} are "
        f"missing and {len(problems) - missing} do not match: "
        + "; ".join(problems[:_SHOWN])
        + ("; ..." if len(problems) > _SHOWN else "")
        + (_hint(tensors, name) or f"; it has {', '.join([*tensors][:_SHOWN])}")
        + (_WITHOUT_HIDDEN if _lacks_hidden(problems, name) else "")
    )


def _lacks_hidden(problems: list[str], name: str) -> bool:
    """Whether only the hidden layer of MobileNet-V3 is missing."""
    return name.startswith("mobilenet_v3") and all(
        problem.startswith("classifier.0.") for problem in problems
    )


def looks_like(tensors: Mapping[str, Tensor]) -> str | None:
    """Returns the ResNet with these tensors, by blocks and widths; None for anything else."""
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
    """Lets timm translate a paper's own names, such as DINOv2's, and resize position embeddings."""
    module = sys.modules[type(backbone).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None)
    if translate is None:
        return tensors
    try:
        translated: dict[str, Tensor] = translate(dict(tensors), backbone)
    except Exception:  # timm's filters assume the right keys
        return tensors
    resized = [key for key in tensors if key in translated and _resized(tensors, translated, key)]
    if any("pos" not in key for key in resized):
        return tensors  # other patches are another architecture, which timm would resample
    return translated


def _resized(old: Mapping[str, Tensor], new: Mapping[str, Tensor], key: str) -> bool:
    return old[key].shape != new[key].shape and old[key].ndim == new[key].ndim
