"""Recognising the format of a checkpoint, and splitting it into backbone and projector."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from solo_rekd.checkpoints.formats import FLAT, FORMATS, Format, Layout
from solo_rekd.utils.errors import UserError


@dataclass(frozen=True)
class SplitCheckpoint:
    """The tensors of a checkpoint, prefixes stripped.

    Attributes:
        format: name of the format it is in.
        backbone: the backbone's tensors by the backbone's own names, perhaps with others that
            only the architecture can tell from them.
        head: the projector's tensors (`0.weight`, `weight` or `mlp.0.weight`), empty without one.
    """

    format: str
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]


def split_state_dict(raw: Mapping[str, Any]) -> SplitCheckpoint:
    """Recognises the format of a checkpoint by its keys and strips it.

    Args:
        raw: what the file holds, as `read_checkpoint` gives it.

    Returns:
        The backbone and the projector.

    Raises:
        UserError: no known format fits; names the first keys and what to do.
    """
    for entry in FORMATS:
        # a preferred container in any layout comes before another: DINO's teacher, not its student
        for container in dict.fromkeys(
            name for layout in entry.layouts for name in layout.containers
        ):
            tensors = _tensors(raw, container)
            for layout in entry.layouts:
                if container in layout.containers and _fits(layout, tensors):
                    return _split(entry.name, layout, tensors)
    raise _unrecognised(raw)


def _tensors(raw: Mapping[str, Any], container: str) -> dict[str, Tensor]:
    held = raw if container == FLAT else raw.get(container)
    if not isinstance(held, Mapping):
        return {}
    return {
        key: value
        for key, value in held.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def _fits(layout: Layout, tensors: Mapping[str, Tensor]) -> bool:
    return any(key.startswith(layout.prefix) for key in tensors) and (
        not layout.needs or any(key.startswith(layout.needs) for key in tensors)
    )


def _split(name: str, layout: Layout, tensors: Mapping[str, Tensor]) -> SplitCheckpoint:
    outside = layout.heads + layout.ignored
    inside = {key: value for key, value in tensors.items() if not key.startswith(outside)}
    heads = [_strip(tensors, prefix) for prefix in layout.heads]
    return SplitCheckpoint(
        name, _strip(inside, layout.prefix), next((head for head in heads if head), {})
    )


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, anchored at the start of the key, without it."""
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _unrecognised(raw: Mapping[str, Any]) -> UserError:
    held = [_tensors(raw, container) for container in (FLAT, *map(str, raw))]
    keys = [key for tensors in held for key in tensors]
    if not keys:
        found = ", ".join([str(key) for key in raw][:5]) or "nothing"
        return UserError(f"the checkpoint holds no state dict with tensors: it holds {found}")
    shared = formats_with_words_of(keys)
    near = f"; these words are of {shared[0].name}: {shared[0].description}" if shared else ""
    return UserError(
        f"the checkpoint is in no known format: of its {len(keys)} tensors the first are "
        f"{', '.join(keys[:5])}{near}; re-save the backbone's state_dict() alone, under "
        "torchvision's or timm's names, or as one of the formats of solo-rekd list"
    )


def formats_with_words_of(keys: Collection[str]) -> list[Format]:
    """The formats whose prefix ends with one of the first two words of a key, such as encoder_q."""
    words = {word for key in keys for word in key.split(".")[:2]}
    return [
        entry
        for entry in FORMATS
        if any(layout.prefix.rstrip(".").rpartition(".")[2] in words for layout in entry.layouts)
    ]
