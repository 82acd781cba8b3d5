"""Loads a pretrained student for evaluation, and says what matched."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.load import stem_of_resnet
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.split import SplitCheckpoint, split_state_dict
from solo_rekd.checkpoints.stem import trained_stem
from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")


def load_student(path: str | Path, name: str, backbone: nn.Module, only: str | None = None) -> None:
    """Loads every weight of `backbone` from a checkpoint, or none.

    Args:
        path: a checkpoint of the host, or any format a teacher is read from.
        name: name of the backbone, for the messages.
        backbone: the network, changed in place.
        only: the one format to accept, where a host's script is to read the file; None: any.

    Raises:
        UserError: the checkpoint cannot be read, is of another format than `only`, or a weight is
            missing or of another shape.
    """
    _fill(path, _split(path, only)[1], name, backbone, translate=only is None)


def build_student(path: str | Path, name: str, img_size: int, stem: str = "auto") -> nn.Module:
    """Builds a backbone with the weights of a checkpoint.

    Args:
        path: a checkpoint, as in `load_student`.
        name: a name of `build_backbone`.
        img_size: side of the square inputs, in px.
        stem: as in `load_networks`.

    Raises:
        UserError: see `load_student` and `build_backbone`.
    """
    raw, split = _split(path)
    if name.startswith("resnet"):
        stem = stem_of_resnet(split.backbone, stem, "stem")
    elif stem == "auto":
        stem = trained_stem(name, split.format, split.backbone, path, raw)
    backbone = build_backbone(name, img_size, stem, "encoder")
    _fill(path, split, name, backbone)
    return backbone


def read_stem(path: str | Path, name: str) -> str:
    """The stem that the weights of a ResNet have; `auto` for any other network.

    Args:
        path: a checkpoint, as in `load_student`.
        name: of the network.

    Raises:
        UserError: see `load_student`.
    """
    if not name.startswith("resnet"):
        return "auto"
    return stem_of_resnet(_split(path)[1].backbone, "auto", "stem")


def _split(path: str | Path, only: str | None = None) -> tuple[Mapping[str, Any], SplitCheckpoint]:
    raw, _ = read_checkpoint(path)
    try:
        split = split_state_dict(raw)
    except UserError as error:
        raise _about(path, error) from error
    if only not in (None, split.format):
        refusal = f"the host's script reads checkpoints of {only}, not of {split.format}"
        raise _about(path, UserError(refusal))
    return raw, split


def _fill(
    path: str | Path, split: SplitCheckpoint, name: str, backbone: nn.Module, translate: bool = True
) -> None:
    try:
        # a host's script takes the names and sizes as they are
        matched = load_backbone(backbone, split.backbone, name, translate)
    except UserError as error:
        raise _about(path, error) from error
    total = len(backbone.state_dict())
    _log.info("%s: matched %d of %d backbone weights of %s", name, matched, total, path)


def _about(path: str | Path, error: UserError) -> UserError:
    return UserError(f"pretrained_feature_extractor={str(path)!r}: {error}")
