"""Makes an objective for a user's training loop from a method's name and settings."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from solo_rekd import lengths
from solo_rekd.api.images import TrainingImages
from solo_rekd.api.needs import needs_classes, needs_images, needs_queue
from solo_rekd.api.objective import NO_CLASSES, Objective
from solo_rekd.api.teacher import Teacher, load_teacher
from solo_rekd.compare.jobs import MOMENTUM
from solo_rekd.config import (
    AUTO,
    PRESET_NAMES,
    DistillationConfig,
    from_settings,
    preset,
    refuse_unknown,
)
from solo_rekd.lengths import Training
from solo_rekd.objectives import OBJECTIVES, DistillationObjective, HostRun
from solo_rekd.utils.errors import UserError, nearest_first, refuse, refuse_beyond

# settings that a host's loader implements
LOADERS = {"drawn_views": 0, "teacher_image_views": 1}


def make_objective(
    method: str,
    *,
    teacher: Teacher | nn.Module | str,
    features_dim: int,
    img_size: int,
    max_epochs: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    num_images: int | None = None,
    batch_size: int | None = None,
    training_images: Dataset | None = None,
    num_workers: int = 0,
    base_momentum: float = MOMENTUM["base_tau_momentum"],
    final_momentum: float = MOMENTUM["final_tau_momentum"],
    **settings: Any,
) -> Objective:
    """Makes an objective with which a student learns from a teacher in your own training loop.

    Args:
        method: name of a method (`solo-rekd list`), or METHOD:PRESET.
        teacher: what `load_teacher` returned, or a module: frozen unless `teacher_mode="online"` is
            given too; or the name of a backbone, as in the methods' setting `teacher`.
        features_dim: width f of the student's pooled features.
        img_size: side of the views, in px.
        max_epochs: length of the training.
        mean: channel means, in [0, 1], that the views are normalised with; None: not known, and
            the teacher sees the views as they are.
        std: channel standard deviations, in [0, 1]; None: not known.
        num_classes: number of classes; None: labels are not read.
        num_images: number of training images; None: that of `training_images`.
        batch_size: images per step, over all processes; with `num_images` it allows
            `queue_size=auto`.
        training_images: data set of the training images without augmentation, for settings that
            read them once before the training: tensors (3, H, H) normalised as the views, or
            tuples that begin with one, optionally followed by the label.
        num_workers: processes that load them.
        base_momentum: momentum of the twins at the first step, in [0, 1].
        final_momentum: momentum that they reach by the end, in [0, 1].
        **settings: settings of the method, by the names of its flags (`solo-rekd pretrain --method
            METHOD --help`). `teacher_probe` is off by default here, and `proj_output_dim` is the
            width of a frozen teacher's embedding.

    Returns:
        The objective, a module; see `Objective`.

    Raises:
        UserError: a ValueError in one line: a setting is unknown or not allowed, the teacher is
            refused, or an argument that the settings need is missing.
    """
    name, _, chosen = method.partition(":")
    if name not in OBJECTIVES:
        raise refuse("method", method, nearest_first(method, [*OBJECTIVES, *PRESET_NAMES]))
    kind = OBJECTIVES[name]
    for key, value, low in (
        *(("features_dim", features_dim, 1), ("img_size", img_size, 1)),
        *(("max_epochs", max_epochs, 1), ("num_workers", num_workers, 0)),
        *(("num_classes", num_classes, 2), ("num_images", num_images, 1)),
        ("batch_size", batch_size, 1),
    ):
        if value is not None:
            refuse_beyond(key, value, low)
    refuse_beyond("base_momentum", base_momentum, 0, 1)
    refuse_beyond("final_momentum", final_momentum, 0, 1)

    given = {"teacher_probe": "off"} | preset(name, chosen or None, "method") | settings
    given, module = _with_teacher(teacher, given, img_size)
    refuse_unknown(kind.config_class, given, of="")
    config = from_settings(kind.config_class, given)
    for key, most in LOADERS.items():
        if getattr(config, key) > most:
            limit = f"at most {most} in your own training loop, whose loader is not solo-rekd's"
            raise refuse(key, getattr(config, key), limit)
    asks = needs_classes(config)
    if asks and num_classes is None:
        raise UserError(f"num_classes is missing: {asks} needs num_classes=NUMBER")
    images = _look_at(training_images, kind, config, img_size, num_workers)
    if images is not None and num_images is None:
        num_images = len(images)
    config = _settled(config, kind, num_images, batch_size, max_epochs)
    if (mean is None) != (std is None):
        raise UserError("give both mean and std, or neither")
    views = [None if each is None else tuple(map(float, each)) for each in (mean, std)]
    sizes = (features_dim, num_classes or NO_CLASSES, img_size, max_epochs)
    run = HostRun(*sizes, views[0], views[1], module)
    momentum = base_momentum, final_momentum
    return Objective(name, kind(config, run), momentum, images, num_images)


def _with_teacher(
    teacher: Teacher | nn.Module | str, settings: dict[str, Any], img_size: int
) -> tuple[dict[str, Any], nn.Module | None]:
    """Returns the settings with the teacher's, and the teacher if it is a module."""
    if isinstance(teacher, str):
        return {"teacher": teacher} | settings, None
    if isinstance(teacher, nn.Module):
        teacher = load_teacher(teacher)
    for key in ("teacher", "teacher_checkpoint"):
        if key in settings:
            raise refuse(key, settings[key], "no value: the teacher is already loaded")
    given = teacher.settings | {"teacher_mode": "frozen"} | settings
    if given["teacher_mode"] == "frozen" or teacher.has_projector:
        size = given["teacher_size"]
        width = teacher.embedding_dim(size if isinstance(size, int) else img_size)
        given = {"proj_output_dim": width} | given
    return given, teacher.module


def _look_at(
    images: Dataset | None,
    kind: type[DistillationObjective],
    config: DistillationConfig,
    size: int,
    workers: int,
) -> TrainingImages | None:
    asks = needs_images(kind, config)
    if asks and images is None:
        raise UserError(f"training_images is missing: {asks} needs training_images=DATASET")
    return None if images is None else TrainingImages(images, size, workers)


def _settled(
    config: DistillationConfig,
    kind: type[DistillationObjective],
    images: int | None,
    batch: int | None,
    epochs: int,
) -> DistillationConfig:
    """Returns the settings with a number for the length of the queue."""
    if config.queue_size != AUTO:
        return config
    if images is not None and batch is not None:
        training = Training(images, batch, images // batch, epochs)
        size = lengths.queue_size(training, config.KEYS_PER_IMAGE)
    elif needs_queue(kind, config):
        raise refuse("queue_size", AUTO, "a number of keys, or num_images and batch_size beside it")
    else:
        size = 1
    return dataclasses.replace(config, queue_size=size)
