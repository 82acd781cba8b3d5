"""Recognises the format of a checkpoint, and splits it into backbone and projector."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from solo_rekd.checkpoints.formats import (
    ANYWHERE,
    CONTAINERS,
    FLAT,
    FORMATS,
    HUGGING_FACE,
    PROJECTORS,
    ROOTS,
    TWINS,
    Format,
    Layout,
    plain,
)
from solo_rekd.checkpoints.naming import translate
from solo_rekd.checkpoints.wrappers import tensors_in
from solo_rekd.utils.errors import UserError

_IBOT = ("head.last_layer2.", "head.mlp2.", "backbone.masked_embed")


@dataclass(frozen=True)
class SplitCheckpoint:
    """The tensors of a checkpoint, with prefixes stripped.

    Attributes:
        format: name of the format it is in.
        backbone: the backbone's tensors by torchvision's or timm's names, perhaps with others that
            can only be separated once the architecture is known.
        head: the projector's tensors (`0.weight`, `weight` or `fc0.weight`), empty without one.
        activation: activation between the projector's layers, `relu` or `gelu`; None: not known.
        naming: library whose names were translated; None: none were.
        stem: meaning of a 3x3 first convolution; None: not known.
        sure: whether there is no doubt about `stem`.
    """

    format: str
    backbone: dict[str, Tensor]
    head: dict[str, Tensor] = field(default_factory=dict)
    activation: str | None = None
    naming: str | None = None
    stem: str | None = None
    sure: bool = True


def split_state_dict(raw: Mapping[str, Any]) -> SplitCheckpoint:
    """Recognises the format of a checkpoint by its keys and strips it.

    Args:
        raw: content of the file, from `read_checkpoint`.

    Returns:
        The backbone and the projector.

    Raises:
        UserError: no known format fits, or several networks do; it names the first keys and what
            to do.
    """
    for entry in FORMATS:
        # a preferred container in any layout comes before another: DINO's teacher, not its student
        for container in dict.fromkeys(
            name for layout in entry.layouts for name in layout.containers
        ):
            tensors = _held(raw, container)
            for layout in entry.layouts:
                if container in layout.containers and _fits(layout, tensors, raw):
                    return _split(entry.name, layout, tensors, raw)
    found = _anywhere(raw)
    if found is None:
        raise _unrecognised(raw)
    return found


def _held(raw: Mapping[str, Any], container: str) -> dict[str, Tensor]:
    """Returns the tensors of a container, including those of nested mappings."""
    if container == FLAT:
        return tensors_in(raw)
    held: Any = raw
    for name in container.split("."):
        held = held.get(name) if isinstance(held, Mapping) else None
    if "." in container and isinstance(held, Mapping):
        return {
            f"{name}.{key}": value
            for name, inner in held.items()
            for key, value in tensors_in(inner).items()
        }
    return tensors_in(held)


def _fits(layout: Layout, tensors: Mapping[str, Tensor], raw: Mapping[str, Any]) -> bool:
    return (
        _occurs(tensors, (layout.prefix,))
        and all(_occurs(tensors, group) for group in layout.needs)
        and not (layout.lacks and _occurs(tensors, layout.lacks))
        and (not layout.argument or argument_in(raw, layout.argument) is not None)
    )


def _occurs(tensors: Mapping[str, Tensor], starts: tuple[str, ...]) -> bool:
    return any(key.startswith(starts) for key in tensors)


def argument_in(raw: Mapping[str, Any], name: str) -> Any:
    """Returns an argument of the training script, if the checkpoint holds its arguments."""
    for key in ("args", "opt"):
        held = raw.get(key)
        held = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
        if name in held:
            return held[name]
    return None


def _split(
    name: str, layout: Layout, tensors: Mapping[str, Tensor], raw: Mapping[str, Any]
) -> SplitCheckpoint:
    outside = layout.heads + layout.ignored
    inside = {key: value for key, value in tensors.items() if not key.startswith(outside)}
    heads = [_strip(tensors, prefix) for prefix in layout.heads]
    head = next((head for head in heads if head), {})
    activation = layout.activation
    if _occurs(tensors, _IBOT):  # whose option it is, see its argument act_in_head
        chosen = argument_in(raw, "act_in_head")
        activation = chosen if chosen in ("relu", "gelu") else None
    backbone, naming = translate(_without_wrapper(_strip(inside, layout.prefix)))
    name = HUGGING_FACE.name if naming == HUGGING_FACE.name else name
    return SplitCheckpoint(name, backbone, head, activation, naming, layout.stem, layout.sure)


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, anchored at the start of the key, without it."""
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _without_wrapper(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strips the prefix of a wrapping module, such as lightly's `vit.`."""
    if any(key.startswith(ROOTS) for key in tensors):
        return tensors
    prefix = _one_prefix(tensors)
    return _strip(tensors, prefix) if prefix else tensors


def _anywhere(raw: Mapping[str, Any]) -> SplitCheckpoint | None:
    """Finds a network by its own names, whatever prefix they have."""
    found: list[tuple[str, SplitCheckpoint]] = []
    for name, held in _mappings(raw):
        tensors = tensors_in(held)
        prefix = _one_prefix(tensors)
        if prefix is None:
            continue
        outer = prefix.rstrip(".").rpartition(".")[0]
        beside = tuple((f"{outer}." if outer else "") + projector for projector in PROJECTORS)
        split = _split(ANYWHERE.name, plain((), prefix, beside), tensors, raw)
        # a single linear layer may as well be a classifier
        if sum(value.ndim == 2 for value in split.head.values()) < 2:
            split = dataclasses.replace(split, head={})
        if name in CONTAINERS:
            return split
        found.append((name, split))
    if len(found) > 1 and not _all_equal([split.backbone for _, split in found]):
        raise _several([name for name, _ in found])
    return found[0][1] if found else None


def _several(names: list[str]) -> UserError:
    return UserError(
        f"the checkpoint holds several networks, {', '.join(names)}: re-save the state_dict() of "
        "the one you want"
    )


def _mappings(raw: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Lists the file and the mappings in it, at any depth, those named like weights first."""
    found: list[tuple[str, Mapping[str, Any]]] = [(FLAT, raw)]
    for _, held in found:  # which grows on the way
        found += [(str(key), value) for key, value in held.items() if isinstance(value, Mapping)]
    order = {name: place for place, name in enumerate(CONTAINERS)}
    return sorted(found, key=lambda each: order.get(each[0], len(order)))


def _one_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """Returns the prefix of the network in `tensors`; of similar ones, the one without a twin."""
    prefixes = list(_prefixes(tensors))
    sizes = {prefix: len(_strip(tensors, prefix)) for prefix in prefixes}
    # a decoder or a head of convolutions is no second network
    prefixes = [prefix for prefix in prefixes if 2 * sizes[prefix] >= max(sizes.values())]
    first = [
        prefix for prefix in prefixes if TWINS.isdisjoint(re.split("[._]", prefix))
    ] or prefixes
    if len(first) > 1 and not _all_equal([_strip(tensors, prefix) for prefix in first]):
        raise _several(first)
    return first[0] if first else None


def _prefixes(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yields the prefixes of networks with convolutions, but not of those inside another."""
    found = dict.fromkeys(map(_prefix_of, tensors))
    for prefix in found:
        if prefix is None or any(
            prefix.startswith(other) for other in found if other not in (None, prefix)
        ):
            continue
        if any(value.ndim == 4 for key, value in tensors.items() if key.startswith(prefix)):
            yield prefix


def _prefix_of(key: str) -> str | None:
    """Returns the shortest prefix after which a key begins like a network's."""
    parts = key.split(".")
    starts = ("".join(f"{part}." for part in parts[:depth]) for depth in range(len(parts)))
    return next((start for start in starts if key.removeprefix(start).startswith(ROOTS)), None)


def _all_equal(networks: list[dict[str, Tensor]]) -> bool:
    first, *others = networks
    return all(
        first.keys() == other.keys() and all(torch.equal(first[key], other[key]) for key in first)
        for other in others
    )


def _unrecognised(raw: Mapping[str, Any]) -> UserError:
    held = [tensors_in(raw), *(tensors_in(value) for value in raw.values())]
    keys = [key for tensors in held for key in tensors]
    if not keys:
        found = ", ".join([str(key) for key in raw][:5]) or "nothing"
        return UserError(f"the checkpoint holds no state dict with tensors: it holds {found}")
    shared = formats_with_words_of(keys)
    near = f"; they resemble {shared[0].name}: {shared[0].description}" if shared else ""
    return UserError(
        f"the checkpoint is in no known format: of its {len(keys)} tensors the first are "
        f"{', '.join(keys[:5])}{near}; re-save the backbone's state_dict() alone, under "
        "torchvision's or timm's names, or in one of the formats of solo-rekd list"
    )


def formats_with_words_of(keys: Collection[str]) -> list[Format]:
    """Lists formats whose prefix ends with one of a key's first two words, such as encoder_q."""
    words = {word for key in keys for word in key.split(".")[:2]}
    return [
        entry
        for entry in FORMATS
        if any(layout.prefix.rstrip(".").rpartition(".")[2] in words for layout in entry.layouts)
    ]
