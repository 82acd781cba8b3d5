"""Builds a teacher from its settings."""

from pathlib import Path

import torch
from torch import nn

from solo_rekd.backbones import build_backbone, settle_stem
from solo_rekd.checkpoints.load import log_facts, read_networks
from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.checkpoints.projector import two_layer_projector
from solo_rekd.config import AUTO, MODULE, NATIVE, PRECISIONS, DistillationConfig
from solo_rekd.teachers.given import given_backbone
from solo_rekd.teachers.sight import Sight, describe_sight, settle_sight, views_between
from solo_rekd.teachers.teacher import FrozenTeacher, Identity, OnlineTeacher, make_identity

TYPES = {name: None if name == AUTO else getattr(torch, name) for name in PRECISIONS}


def build_teacher(
    config: DistillationConfig,
    img_size: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    module: nn.Module | None = None,
) -> OnlineTeacher | FrozenTeacher:
    """Builds the teacher that the settings ask for.

    Args:
        config: settings named `teacher*`, and the projector's widths.
        img_size: side of the student's views, in px.
        mean: channel means of the student's views, in [0, 1]; None: not known.
        std: channel standard deviations of the student's views, in [0, 1]; None: not known.
        module: the teacher for the setting `teacher=module`.

    Returns:
        The teacher, which takes the student's views and converts them to its own. An online teacher
        starts from the checkpoint's weights, if one is given, and has a new projector,
        Linear-ReLU-Linear, if the checkpoint holds none.

    Raises:
        UserError: the backbone is unknown, the checkpoint or the module is refused, or the teacher
            needs another normalisation than the student's, which is not known.
    """
    name, mode, path = config.teacher, config.teacher_mode, config.teacher_checkpoint
    student = Sight(img_size, mean, std)
    # the size of the file is not known yet
    size = img_size if config.teacher_size in (AUTO, NATIVE) else int(config.teacher_size)
    if name == MODULE or module is not None:
        sight = settle_sight(config, Preprocessing(), student, size)
        given, sha256 = given_backbone(module, name, size)
        identity = make_identity(mode, name, type(module).__name__, sha256, **sight.record())
        return _made(config, given, None, identity, views_between(student, sight))
    if path is None:
        sight = settle_sight(config, Preprocessing(), student, size)
        stem = settle_stem(name, size, config.teacher_stem)
        backbone = build_backbone(name, size, config.teacher_stem, "teacher")
        identity = make_identity(mode, name, stem=stem, **sight.record())
        views = views_between(student, sight)
        freeze_first(backbone, config.teacher_frozen)
        return OnlineTeacher(backbone, _new_projector(backbone, config), identity, views)
    asked = None if config.teacher_size == NATIVE else size
    loaded = read_networks(Path(path), name, asked, config.teacher_stem)
    sight = settle_sight(config, loaded.facts.preprocessing, student, loaded.img_size)
    log_facts(loaded.facts, more=describe_sight(config, sight, loaded.facts.preprocessing))
    identity = make_identity(mode, name, path, loaded.sha256, stem=loaded.stem, **sight.record())
    views = views_between(student, sight)
    teacher = _made(config, loaded.backbone, loaded.projector, identity, views)
    teacher.facts = loaded.facts.as_dict()
    return teacher


def _made(
    config: DistillationConfig,
    backbone: nn.Module,
    projector: nn.Sequential | None,
    identity: Identity,
    views: nn.Module | None,
) -> OnlineTeacher | FrozenTeacher:
    if config.teacher_mode == "frozen":
        precision = TYPES[config.teacher_precision]
        return FrozenTeacher(backbone, projector, identity, views, precision)
    freeze_first(backbone, config.teacher_frozen)
    return OnlineTeacher(backbone, projector or _new_projector(backbone, config), identity, views)


def freeze_first(network: nn.Module, share: float) -> None:
    """Freezes the first part of a network's tensors.

    Args:
        network: network that lists its parameters from the input on.
        share: share of the tensors to freeze, in [0, 1]; rounded down to whole tensors.
    """
    parameters = [*network.parameters()]
    for parameter in parameters[: int(share * len(parameters))]:
        parameter.requires_grad_(False)


def _new_projector(backbone: nn.Module, config: DistillationConfig) -> nn.Sequential:
    features = int(backbone.num_features)  # type: ignore[arg-type]
    return two_layer_projector(features, config.proj_hidden_dim, config.proj_output_dim)
