"""Loads a backbone and its projector from a checkpoint, completely or not at all."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solo_rekd.backbones import TIMM, build_backbone, refuse_unknown, settle_stem
from solo_rekd.checkpoints.beside import CONFIG, read_beside
from solo_rekd.checkpoints.facts import Facts, describe_head, describe_pooling
from solo_rekd.checkpoints.fit import load_backbone, refuse_not_finite
from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.named import doubt_of_padding, named_architecture, refuse_another
from solo_rekd.checkpoints.outside import READERS
from solo_rekd.checkpoints.preprocessing import preprocessing_of, refuse_unknown_size
from solo_rekd.checkpoints.projector import build_projector, widths
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_settings import method_of, read_student
from solo_rekd.checkpoints.split import split_state_dict
from solo_rekd.checkpoints.stems import stem_of_resnet, trained_stem
from solo_rekd.checkpoints.variants import variant_of
from solo_rekd.images.data_sets import SMALL_IMAGE
from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")


def load_networks(
    path: str | Path, name: str, img_size: int | None, stem: str = "auto", role: str = "teacher"
) -> Loaded:
    """Builds the backbone `name` and the checkpoint's projector, with the checkpoint's weights.

    Args:
        path: a checkpoint in one of `FORMATS`, or a path for one of `READERS`.
        name: a name of `build_backbone`, or `huggingface` or `onnx`, which describe themselves.
        img_size: side of the square inputs, in px; None: the size that the file was trained at.
        stem: as in `build_backbone`, but `auto` is the stem that the weights were trained with,
            whatever the input (`trained_stem`); a ResNet's is read from its first convolution.
        role: name of the network in messages.

    Returns:
        The networks, and what is known of them.

    Raises:
        UserError: the file cannot be read, does not hold every tensor of that backbone, is from
            another one, or does not record its size where that is asked for.
    """
    loaded = read_networks(Path(path), name, img_size, stem, role)
    log_facts(loaded.facts, role)
    return loaded


def log_facts(facts: Facts, role: str = "teacher", more: str = "") -> None:
    """Logs in one line how a file was read, ending in `more`, and warns about every doubt."""
    _log.info("%s %s from %s%s", role, facts.architecture, facts.line(), more)
    for doubt in facts.doubts:
        _log.warning("%s_checkpoint=%r: %s", role, facts.path, doubt)


def read_networks(
    path: Path, name: str, img_size: int | None, stem: str = "auto", role: str = "teacher"
) -> Loaded:
    """Does the same as `load_networks` without logging how the file was read."""
    if name in READERS:
        with _about(path, role):
            return READERS[name](path, img_size)
    refuse_unknown(role, name)
    file = _weights(path)
    read = read_file(file)
    raw, doubts = read.content, []
    with _about(path, role):
        split = split_state_dict(raw)
        if name.removeprefix(TIMM).startswith("resnet"):
            stem, doubt = stem_of_resnet(split, stem, f"{role}_stem", read_student(file, raw))
            if name.startswith(TIMM) and stem == "imagenet":
                stem = "auto"
            doubts.append(doubt)
        elif stem == "auto":
            stem = trained_stem(name, split, read_student(file, raw))
            if stem == "auto" and not name.startswith(TIMM):
                doubts.append(
                    "its first layers are not recorded: they are chosen by the size of the images, "
                    f"small up to {SMALL_IMAGE} px; give {role}_stem to set them"
                )
        preprocessing = preprocessing_of(file, name, split.format, raw)
        img_size = img_size or preprocessing.size or refuse_unknown_size(role)
        config = read_beside(file, CONFIG)
        variant = variant_of(name, split, method_of(raw, file), config)
    doubts.append(variant.doubt)
    backbone = build_backbone(variant.name, img_size, stem, role, variant.options)
    with _about(path, role):
        fitted = load_backbone(backbone, split.backbone, variant.name, positions=variant.positions)
        named = named_architecture(config, raw)
        refuse_another(named, variant.name)
        refuse_not_finite(split.head)
    doubts.append(doubt_of_padding(named, variant.name))
    projector = build_projector(split.head, split.activation)
    if projector is not None and widths(projector)[0] != backbone.num_features:
        doubts.append(f"the projector is left out: it does not accept {variant.name}'s features")
        projector = None
    head, activation, known = describe_head(projector, split.activation)
    facts = Facts(
        path=str(path),
        sha256=read.sha256,
        format=split.format,
        naming=split.naming,
        inert=read.inert,
        architecture=variant.name,
        num_features=int(backbone.num_features),  # type: ignore[arg-type]
        matched=fitted.matched,
        left_out=fitted.left_out,
        resized=fitted.resized,
        stem=settle_stem(name, img_size, stem),
        pooling=variant.pooling or describe_pooling(backbone),
        head=head,
        activation=activation,
        activation_known=known,
        preprocessing=preprocessing,
        doubts=tuple(doubt for doubt in doubts if doubt),
    )
    return Loaded(backbone, projector, img_size, facts)


def _weights(path: Path) -> Path:
    """Returns the only weights file in a folder from Hugging Face; otherwise the path."""
    file = path / "model.safetensors"
    return file if path.is_dir() and file.is_file() else path


@contextmanager
def _about(path: Path, role: str) -> Iterator[None]:
    """Adds the file's name to UserErrors."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{role}_checkpoint={str(path)!r}: {error}") from error
