"""Loads a pretrained student, to evaluate it or to train it further."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from solo_rekd.backbones import TIMM, build_backbone, is_known, settle_stem
from solo_rekd.checkpoints.beside import CONFIG, read_beside
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_settings import method_of, read_student
from solo_rekd.checkpoints.split import SplitCheckpoint, split_state_dict
from solo_rekd.checkpoints.stems import stem_of_resnet, trained_stem
from solo_rekd.checkpoints.variants import Variant, refuse_other, variant_of
from solo_rekd.config import STEMS
from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")

EVALUATED = "pretrained_feature_extractor"  # setting of a file to evaluate
STARTED = "student_checkpoint"  # setting of a file that a pretraining starts from


class Source(NamedTuple):
    """Where a student's weights come from.

    Attributes:
        format: name of the file's format.
        sha256: SHA-256 of the file, in hexadecimal.
    """

    format: str
    sha256: str


def load_student(
    path: str | Path,
    name: str,
    backbone: nn.Module,
    only: str | None = None,
    key: str = EVALUATED,
) -> Source:
    """Loads every weight of `backbone` from a checkpoint, or none.

    Args:
        path: a checkpoint of the host, or of any format a teacher is read from.
        name: name of the backbone, for messages.
        backbone: the network, changed in place.
        only: the only format to accept, if a host's script will read the file; None: any.
        key: name of the file's setting.

    Returns:
        The file's format and digest.

    Raises:
        UserError: the checkpoint cannot be read or has another format than `only`, or a weight is
            missing or has another shape.
    """
    raw, split, digest = _split(path, only, key)
    variant = _variant(path, raw, split, f"{TIMM}{name.removeprefix(TIMM)}", key)
    try:
        refuse_other(backbone, variant, name)
    except UserError as error:
        raise _about(path, error, key) from error
    # a host's script uses the names and sizes unchanged
    translated = only is None
    _fill(path, split, name, backbone, key, translated, variant.positions if translated else None)
    return Source(split.format, digest)


class Start(NamedTuple):
    """A file of weights that a student starts from.

    Attributes:
        stem: stem of its network, see `build_backbone`.
        source: format and digest of the file.
    """

    stem: str
    source: Source


def read_start(path: str | Path, name: str, img_size: int, stem: str = "auto") -> Start:
    """Reads a student's starting weights once, before anything is trained.

    Args:
        path: a checkpoint, as in `load_student`.
        name: name of the student.
        img_size: side of its square inputs, in px.
        stem: stem that the user asks for, or `auto`.

    Raises:
        UserError: the file cannot be read, or does not hold every weight of the student.
    """
    stem = choose_stem(path, name, stem)
    student = build_backbone(name, img_size, stem, "student")
    return Start(stem, load_student(path, name, student, key=STARTED))


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
    raw, split, _ = _split(path)
    if name.startswith("resnet"):
        stem = _stem(path, raw, split, stem)
    elif stem == "auto":
        stem = trained_stem(name, split, read_student(Path(path), raw))
    variant = _variant(path, raw, split, name)
    backbone = build_backbone(variant.name, img_size, stem, "encoder", variant.options)
    _fill(path, split, variant.name, backbone, positions=variant.positions)
    if variant.doubt:
        _log.warning("%s: %s", path, variant.doubt)
    return backbone


def _variant(
    path: str | Path,
    raw: Mapping[str, Any],
    split: SplitCheckpoint,
    name: str,
    key: str = EVALUATED,
) -> Variant:
    file = Path(path)
    try:
        return variant_of(name, split, method_of(raw, file), read_beside(file, CONFIG))
    except UserError as error:
        raise _about(path, error, key) from error


def choose_stem(path: str | Path, name: str, asked: str, key: str = "stem") -> str:
    """Determines the stem of a network that starts from a checkpoint.

    Args:
        path: a checkpoint, as in `load_student`.
        name: name of the network.
        asked: stem that the user asks for, or `auto`.
        key: name of the setting.

    Returns:
        For a ResNet, the stem of the weights; for another network, whose weights may fit either,
        the stem that the file records, or else what was asked for.

    Raises:
        UserError: the file cannot be read, or a ResNet's weights have another stem than the user
            asks for.
    """
    if name.startswith("resnet"):
        raw, split, _ = _split(path, key=STARTED)
        return _stem(path, raw, split, asked, key, STARTED)
    if asked != "auto" or name.startswith(TIMM) or not is_known(name):
        return asked  # timm's models and the host's have one stem only
    trained = read_student(Path(path))
    if trained.get("encoder") != name:
        return asked
    return settle_stem(name, trained["crop_size"], trained.get("stem", asked))


def read_stem(path: str | Path, name: str) -> str:
    """Returns the stem of a ResNet's weights; `auto` for any other network.

    Args:
        path: a checkpoint, as in `load_student`.
        name: name of the network.

    Raises:
        UserError: see `load_student`.
    """
    if not name.startswith("resnet"):
        return "auto"
    raw, split, _ = _split(path)
    return _stem(path, raw, split, "auto")


def _stem(
    path: str | Path,
    raw: Mapping[str, Any],
    split: SplitCheckpoint,
    asked: str,
    key: str = "stem",
    about: str = EVALUATED,
) -> str:
    try:
        stem, doubt = stem_of_resnet(split, asked, key, read_student(Path(path), raw), STEMS)
    except UserError as error:
        raise _about(path, error, about) from error
    if doubt:
        _log.warning("%s: %s", path, doubt)
    return stem


def _split(
    path: str | Path, only: str | None = None, key: str = EVALUATED
) -> tuple[Mapping[str, Any], SplitCheckpoint, str]:
    """Reads a checkpoint; returns its content, its tensors and the SHA-256 of the file."""
    try:
        read = read_file(path)
        split = split_state_dict(read.content)
    except UserError as error:
        raise _about(path, error, key) from error
    if only not in (None, split.format):
        refusal = (
            f"the host's script reads checkpoints of {only}, and this one is of {split.format}"
        )
        raise _about(path, UserError(refusal), key)
    if only is not None and not read.is_plain:
        held = f"refers to {read.inert[0]}" if read.inert else f"is of {read.kind}"
        refusal = (
            f"the file {held}, which torch.load in the host's script does not read: give it to "
            "solo-rekd linear, or save its weights alone"
        )
        raise _about(path, UserError(refusal), key)
    return read.content, split, read.sha256


def _fill(
    path: str | Path,
    split: SplitCheckpoint,
    name: str,
    backbone: nn.Module,
    key: str = EVALUATED,
    translate: bool = True,
    positions: str | None = None,
) -> None:
    try:
        matched = load_backbone(backbone, split.backbone, name, translate, positions).matched
    except UserError as error:
        raise _about(path, error, key) from error
    total = len(backbone.state_dict())
    _log.info("%s: matched %d of %d backbone weights of %s", name, matched, total, path)


def _about(path: str | Path, error: UserError, key: str = EVALUATED) -> UserError:
    return UserError(f"{key}={str(path)!r}: {error}")
