"""Loads a pretrained student for evaluation, and says what matched."""

import logging
from pathlib import Path

from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.checkpoints.split import SplitCheckpoint, split_state_dict
from solo_rekd.checkpoints.stems import stem_of_resnet
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
    _fill(path, _split(path, only), name, backbone, translate=only is None)


def build_student(path: str | Path, name: str, img_size: int, stem: str = "auto") -> nn.Module:
    """Builds a backbone with the weights of a checkpoint.

    Args:
        path: a checkpoint, as in `load_student`.
        name: a name of `build_backbone`.
        img_size: side of the square inputs, in px.
        stem: as in `build_backbone`; a ResNet's is read from the checkpoint, whatever the input.

    Raises:
        UserError: see `load_student` and `build_backbone`.
    """
    split = _split(path)
    if name.startswith("resnet"):
        stem = _stem(path, split, stem)
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
    return _stem(path, _split(path), "auto")


def _stem(path: str | Path, split: SplitCheckpoint, asked: str) -> str:
    try:
        stem, doubt = stem_of_resnet(split, asked, "stem", read_student(Path(path)))
    except UserError as error:
        raise _about(path, error) from error
    if doubt:
        _log.warning("%s: %s", path, doubt)
    return stem


def _split(path: str | Path, only: str | None = None) -> SplitCheckpoint:
    raw, _ = read_checkpoint(path)
    try:
        split = split_state_dict(raw)
    except UserError as error:
        raise _about(path, error) from error
    if only not in (None, split.format):
        refusal = f"the host's script reads checkpoints of {only}, not of {split.format}"
        raise _about(path, UserError(refusal))
    return split


def _fill(
    path: str | Path, split: SplitCheckpoint, name: str, backbone: nn.Module, translate: bool = True
) -> None:
    try:
        # a host's script takes the names and sizes as they are
        matched = load_backbone(backbone, split.backbone, name, translate).matched
    except UserError as error:
        raise _about(path, error) from error
    total = len(backbone.state_dict())
    _log.info("%s: matched %d of %d backbone weights of %s", name, matched, total, path)


def _about(path: str | Path, error: UserError) -> UserError:
    return UserError(f"pretrained_feature_extractor={str(path)!r}: {error}")
