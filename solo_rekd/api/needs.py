"""The further arguments that an objective's step needs, and the settings that need them."""

from typing import Any

from solo_rekd.config import IMAGE, CompressConfig, DistillationConfig, RekdConfig
from solo_rekd.objectives import BINGO, CRCD, DistillationObjective, ReKD
from solo_rekd.objectives.feature_regression import FeatureRegression
from solo_rekd.teachers import OnlineTeacher


def needs_images(method: type[DistillationObjective], config: DistillationConfig) -> str:
    """Returns the setting that makes an objective read the training images, as NAME=VALUE.

    Args:
        method: class of the objective.
        config: its settings.

    Returns:
        The setting; empty: there is none.
    """
    if issubclass(method, BINGO):
        return _said(config, "bag_size")
    if getattr(config, "neighbours", 0):
        return _said(config, "neighbours")
    if config.teacher_view == IMAGE:
        return _said(config, "teacher_view")
    if isinstance(config, RekdConfig) and config.of_images:
        return _said(config, "relation_view", config.meant["relation_view"])
    return ""


def needs_classes(config: DistillationConfig) -> str:
    """Returns the setting that makes an objective read labels, as NAME=VALUE; empty: none."""
    probe = _said(config, "teacher_probe") if config.teacher_probe == "on" else ""
    return config.reads_labels or probe


def needs_queue(method: type[DistillationObjective], config: DistillationConfig) -> bool:
    """Whether an objective has a queue."""
    return not issubclass(method, FeatureRegression) or config.teacher_mode == "online"


def needs_of(name: str, objective: DistillationObjective) -> dict[str, str]:
    """Returns the arguments that each step needs, and the settings that need them.

    Args:
        name: name of the method.
        objective: objective with settled settings.

    Returns:
        The setting as NAME=VALUE, by the name of the argument of `Objective.forward`.
    """
    config = objective.config
    found = {
        "momentum_features": _momentum(name, config) if config.reads_momentum else "",
        "labels": needs_classes(config),
        "indexes": _indexes(objective),
        "epoch": _epoch(objective),
        "mixed": _said(config, "mixup") if config.mixup else "",
    }
    return {argument: setting for argument, setting in found.items() if setting}


def _momentum(name: str, config: DistillationConfig) -> str:
    if isinstance(config, CompressConfig):
        return _said(config, "variant")
    if isinstance(config, RekdConfig):
        if config.dictionary != "teacher":
            return _said(config, "dictionary")
        share = config.relation_weight < 1
        return _said(config, "relation_weight" if share else "teacher_warmup_epochs")
    return f"method={name!r}"


def _indexes(objective: DistillationObjective) -> str:
    config = objective.config
    by_images = needs_images(type(objective), config)
    if by_images and not by_images.startswith("neighbours="):  # neighbours are in the batch already
        return by_images
    if config.teacher_view == IMAGE:
        return _said(config, "teacher_view")
    return _said(config, "relation") if getattr(config, "relation", None) == "random" else ""


def _epoch(objective: DistillationObjective) -> str:
    config = objective.config
    if isinstance(objective, CRCD) and objective.distilled_epochs < objective.run.max_epochs:
        return _said(config, "finetune_share")
    if isinstance(objective, ReKD):
        if objective.warmup_epochs:
            return _said(config, "teacher_warmup_epochs")
        if objective.config.relation_schedule == "falling":
            return _said(config, "relation_schedule")
        if objective.config.of_images and isinstance(objective.teacher, OnlineTeacher):
            return _said(config, "relation_refresh")
    return ""


def _said(config: Any, name: str, value: Any = None) -> str:
    return f"{name}={getattr(config, name) if value is None else value!r}"
