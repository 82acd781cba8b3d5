"""The projector of a teacher, rebuilt from nothing but the names and shapes of its tensors."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_log = logging.getLogger("solo_rekd")


class _CannotRebuild(Exception):
    """The tensors leave open what computed with them."""


def build_projector(head: Mapping[str, Tensor]) -> nn.Sequential | None:
    """Rebuilds a projector with its weights, up to the embedding.

    A 2-D weight is a Linear, running statistics are a BatchNorm1d, and a number left out between
    two layers is the activation: a ReLU, or a GELU in the `mlp` of DINO (arXiv 2104.14294), whose
    `last_layer` of prototypes comes after the embedding and is left out.

    Args:
        head: tensors by name: `N.weight` of a sequence, or `weight` of a single layer, the names
            preceded by `mlp.` for DINO.

    Returns:
        The projector (B, num_features) -> (B, d), or None where there is none or where the
        tensors do not tell what it was; the log says why.
    """
    if not head:
        return None
    is_dino = any(key.startswith("mlp.") for key in head)
    activation = nn.GELU if is_dino else nn.ReLU
    if is_dino:
        head = {k.removeprefix("mlp."): v for k, v in head.items() if k.startswith("mlp.")}
    try:
        return _rebuild(_by_index(head), activation)
    except _CannotRebuild as reason:
        _log.warning("the projector is left out, pooled features take its place: %s", reason)
        return None


def two_layer_projector(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Builds a new projector, two linear layers with a ReLU between (arXiv 2003.04297)."""
    return nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))


def widths(projector: nn.Sequential) -> tuple[int, int]:
    """The numbers of features that a projector takes and of dimensions that it gives."""
    linear = [layer for layer in projector if isinstance(layer, nn.Linear)]
    return linear[0].in_features, linear[-1].out_features


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
