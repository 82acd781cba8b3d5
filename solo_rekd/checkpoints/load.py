"""A backbone and its projector from a checkpoint: all of it, or a refusal."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from solo_rekd.backbones import build_backbone, settle_stem
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.preprocessing import Preprocessing, preprocessing_of
from solo_rekd.checkpoints.projector import build_projector, widths
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.split import split_state_dict
from solo_rekd.checkpoints.stem import trained_stem
from solo_rekd.utils.errors import UserError, refuse

_log = logging.getLogger("solo_rekd")


@dataclass(frozen=True)
class Loaded:
    """The networks that a checkpoint holds.

    Attributes:
        backbone: images to pooled features.
        projector: features to embeddings, where the checkpoint has one.
        stem: the backbone's first layers: `small`, `imagenet`, or `auto` for timm's own.
        sha256: of the file, in hexadecimal.
        img_size: side of the square inputs for which the backbone is built, in px.
        preprocessing: what the network was trained to see, as far as anything tells.
    """

    backbone: nn.Module
    projector: nn.Sequential | None
    stem: str
    sha256: str
    img_size: int
    preprocessing: Preprocessing


def load_networks(
    path: str | Path, name: str, img_size: int | None, stem: str = "auto", role: str = "teacher"
) -> Loaded:
    """Builds the backbone `name` and the checkpoint's projector, with the checkpoint's weights.

    Args:
        path: a checkpoint in one of `FORMATS`.
        name: a name of `build_backbone`.
        img_size: side of the square inputs, in px; None: that which the file was trained at.
        stem: as in `build_backbone`, `auto` being that with which the weights were trained,
            whatever the input (`trained_stem`); a ResNet's is read from its first convolution.
        role: what the messages call the network.

    Returns:
        The networks, and what is known of them.

    Raises:
        UserError: the file cannot be read, does not hold every tensor of that backbone, or does
            not tell its size where that is asked for.
    """
    raw, digest = read_checkpoint(path)
    try:
        split = split_state_dict(raw)
        if name.startswith("resnet"):
            stem = stem_of_resnet(split.backbone, stem, f"{role}_stem")
        elif stem == "auto":
            stem = trained_stem(name, split.format, split.backbone, path, raw)
        preprocessing = preprocessing_of(path, name, split.format, raw)
        img_size = img_size or preprocessing.size
        if img_size is None:
            raise UserError(f"nothing tells the size it was trained at: give {role}_size=N, in px")
    except UserError as error:
        raise _about(path, role, error) from error
    backbone = build_backbone(name, img_size, stem, role)
    try:
        matched = load_backbone(backbone, split.backbone, name)
    except UserError as error:
        raise _about(path, role, error) from error
    projector = build_projector(split.head)
    if projector is not None and widths(projector)[0] != backbone.num_features:
        _log.warning("the projector is left out: it does not take %s's features", name)
        projector = None
    head = "no projector"
    if projector is not None:
        head = "projector {} to {}".format(*widths(projector))
    line = "%s %s from %s: %s, %d tensors matched, %s, sha256 %s"
    _log.info(line, role, name, path, split.format, matched, head, digest[:12])
    stem = settle_stem(name, img_size, stem)
    return Loaded(backbone, projector, stem, digest, img_size, preprocessing)


def _about(path: str | Path, role: str, error: UserError) -> UserError:
    return UserError(f"{role}_checkpoint={str(path)!r}: {error}")


def stem_of_resnet(tensors: Mapping[str, Tensor], asked: str, key: str) -> str:
    """The stem of a ResNet that has these tensors.

    Args:
        tensors: of its backbone, by their names.
        asked: the stem that the user asks for, or `auto`.
        key: what the user calls the stem.

    Returns:
        `small` where the first convolution is 3x3, as solo-learn's on CIFAR, else `imagenet`; of
        anything but a ResNet what was asked for.

    Raises:
        UserError: another stem is asked for.
    """
    conv = tensors.get("conv1.weight")
    if conv is None or conv.ndim != 4:
        return asked  # not a ResNet: the missing keys will say so
    held = "small" if conv.shape[-1] == 3 else "imagenet"
    if asked not in ("auto", held):
        raise refuse(key, asked, f"auto or {held}, which the checkpoint has")
    return held
