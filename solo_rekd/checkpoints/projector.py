"""Rebuilds a teacher's projector from only the names and shapes of its tensors."""

import logging
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

_log = logging.getLogger("solo_rekd")


class _CannotRebuild(Exception):
    """The tensors do not determine the projector."""


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


def build_projector(
    head: Mapping[str, Tensor], activation: str | None = None
) -> nn.Sequential | None:
    """Rebuilds a projector with its weights, up to the embedding.

    A 2-D weight is a Linear, running statistics are a BatchNorm1d, and a number left out between
    two layers is the activation, which no key shows. The `last_layer` of DINO (arXiv 2104.14294),
    its prototypes, comes after the embedding and is left out.

    Args:
        head: tensors by name: `N.weight` of a sequence, `weight` of a single layer, `fcN.weight`
            and `bnN.weight` of OpenMMLab, or `N.clf.M.weight` of VISSL.
        activation: `relu`, `gelu`, or None if not known: then ReLU is assumed, and the log warns if
            the projector has an activation.

    Returns:
        The projector (B, num_features) -> (B, d), or None where there is none or the tensors do not
        determine it; the log gives the reason.
    """
    if not head:
        return None
    try:
        projector = _rebuild(_by_index(_numbered(head)), ACTIVATIONS[activation or "relu"])
    except _CannotRebuild as reason:
        _log.warning(
            "the projector is left out, and the pooled features are the embedding: %s", reason
        )
        return None
    if activation is None and has_activation(projector):
        _log.warning(
            "the activation between the projector's layers is not recorded: ReLU is assumed; if it "
            "was another, the features are right but the embedding is not"
        )
    return projector


def has_activation(projector: nn.Sequential) -> bool:
    """Whether a projector has an activation, which its tensors do not show."""
    return any(isinstance(layer, tuple(ACTIVATIONS.values())) for layer in projector)


def two_layer_projector(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Builds a new projector, two linear layers with a ReLU between (arXiv 2003.04297)."""
    return nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))


def linear_projector(in_dim: int, out_dim: int) -> nn.Sequential:
    """Builds a new projector of one linear layer, recognisable in checkpoints."""
    return nn.Sequential(nn.Linear(in_dim, out_dim))


def widths(projector: nn.Sequential) -> tuple[int, int]:
    """Returns the input and output widths of a projector."""
    linear = [layer for layer in projector if isinstance(layer, nn.Linear)]
    return linear[0].in_features, linear[-1].out_features


def _numbered(head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts layers with their own names to positions in one sequence."""
    if any(key.startswith("fc") for key in head):  # one layer, or OpenMMLab's fc0, bn0, fc1, bn1
        return _in_sequence(
            head, r"(fc|bn)(\d*)\.(\w+)", lambda kind, at: (int(at or 0), kind == "bn")
        )
    if any(".clf." in key for key in head):  # VISSL's heads, one after the other
        return _in_sequence(head, r"(\d+)\.clf\.(\d+)\.(\w+)", lambda one, at: (int(one), int(at)))
    return {key.removeprefix("0.projection_head."): v for key, v in head.items()}


def _in_sequence(
    head: Mapping[str, Tensor], pattern: str, place: Callable[[str, str], tuple[int, int]]
) -> dict[str, Tensor]:
    """Numbers the layers by `place`, with a number left out wherever its first part changes."""
    layers: dict[tuple[int, int], dict[str, Tensor]] = {}
    for key, tensor in head.items():
        found = re.fullmatch(pattern, key)
        if found:
            layers.setdefault(place(found[1], found[2]), {})[found[3]] = tensor
    numbered: dict[str, Tensor] = {}
    number, last = 0, None
    for group, position in sorted(layers):
        if last is not None:
            number += position - last[1] if group == last[0] else 2
        last = (group, position)
        for name, tensor in layers[last].items():
            numbered[f"{number}.{name}"] = tensor
    return numbered


def _by_index(head: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Groups `N.weight` and the like by N; a single layer's `weight` gets N = 0."""
    layers: dict[int, dict[str, Tensor]] = {}
    for key, tensor in head.items():
        index, _, name = key.rpartition(".")
        if index and not index.isdecimal():
            raise _CannotRebuild(f"{key} is not in a plain sequence")
        layers.setdefault(int(index or 0), {})[name] = tensor
    if 0 not in layers:
        raise _CannotRebuild("its first layer has no tensors")
    return layers


def _rebuild(tensors: dict[int, dict[str, Tensor]], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in sorted(tensors):
        if index == len(layers) + 1:
            layers.append(activation())
        elif index != len(layers):
            raise _CannotRebuild(f"several layers before number {index} have no tensors")
        layers.append(_layer(index, tensors[index]))
    _check_widths(layers)
    return nn.Sequential(*layers)


def _layer(index: int, tensors: dict[str, Tensor]) -> nn.Module:
    shape = tuple(tensors["weight"].shape) if "weight" in tensors else ()
    layer: nn.Module
    if "running_mean" in tensors:
        affine = "weight" in tensors
        layer = nn.BatchNorm1d(tensors["running_mean"].numel(), affine=affine)
        # checkpoints of early PyTorch lack this counter, which inference does not read
        tensors = {"num_batches_tracked": torch.tensor(0)} | tensors
    elif len(shape) == 2:
        layer = nn.Linear(shape[1], shape[0], bias="bias" in tensors)
    else:
        raise _CannotRebuild(f"layer {index} has {', '.join(tensors)} of an unknown kind")
    try:
        layer.load_state_dict(tensors)
    except RuntimeError as error:
        raise _CannotRebuild(f"layer {index}: {str(error).splitlines()[-1].strip()}") from error
    return layer


def _check_widths(layers: list[nn.Module]) -> None:
    width: int | None = None
    for layer in layers:
        if isinstance(layer, nn.Linear):
            takes, gives = layer.in_features, layer.out_features
        elif isinstance(layer, nn.BatchNorm1d):
            takes = gives = layer.num_features
        else:
            continue
        if width not in (None, takes):
            raise _CannotRebuild(f"a layer of width {takes} follows one of width {width}")
        width = gives
    if not any(isinstance(layer, nn.Linear) for layer in layers):
        raise _CannotRebuild("it has no linear layer")
