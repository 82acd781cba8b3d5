"""How long a training will be, before it begins, and the settings that follow from that."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from solo_rekd import lengths
from solo_rekd.config import DistillationConfig, from_settings, whole_or_auto
from solo_rekd.images.files import list_class_images, list_classes
from solo_rekd.images.photos.given import find_photos
from solo_rekd.lengths import AUTO, Training


def count_images(folder: str | Path, no_labels: bool, fraction: float | None = None) -> int:
    """Counts the training images, as both hosts and DALI list them.

    Args:
        folder: of class folders or, with `no_labels`, see `find_photos`.
        no_labels: whether the images have no classes.
        fraction: the part of the images to use, in (0, 1); None or another number: all.

    Raises:
        UserError: the images cannot be listed, or there are none.
    """
    if no_labels:
        number = len(find_photos(folder).names)
    else:
        number = len(list_class_images(folder, list_classes(folder)).samples)
    return math.floor(number * fraction) if fraction and 0 < fraction < 1 else number


def make_training(
    images: int,
    batch_size: int,
    processes: int,
    epochs: int,
    limit: int | float | None = None,
    max_steps: int | None = None,
    accumulated: int | None = None,
) -> Training:
    """Says how long a training will be, as Lightning counts batches.

    Args:
        images: in the training set.
        batch_size: of a process; the last batch is dropped where it is not full.
        processes: that train together.
        epochs: of the training.
        limit: `limit_train_batches`: a number of batches, or a share as a float; None: all.
        max_steps: see `end_after`.
        accumulated: likewise.
    """
    steps = images // processes // batch_size
    if isinstance(limit, float):
        steps = int(steps * limit) if limit <= 1 else min(steps, int(limit))
    elif limit is not None:
        steps = min(steps, limit)
    return end_after(
        Training(images, batch_size * processes, steps, epochs), max_steps, accumulated
    )


def end_after(training: Training, max_steps: int | None, accumulated: int | None) -> Training:
    """Shortens a training to a number of steps, in whole epochs but for one that is its only one.

    Args:
        training: without that limit.
        max_steps: of the optimiser; None or -1: no limit.
        accumulated: batches of such a step; None: 1.
    """
    if max_steps is None or max_steps < 0:
        return training
    batches = max_steps * (accumulated or 1)
    steps = min(training.steps, batches)
    return training._replace(
        steps=steps, epochs=min(training.epochs, max(1, batches // (steps or 1)))
    )


def settle(
    config_class: type[DistillationConfig],
    settings: Mapping[str, Any],
    epochs: int,
    training: Callable[[], Training],
    earlier: Callable[[], Mapping[str, Any]],
) -> dict[str, int]:
    """Finds the numbers that `auto` means in a run.

    Args:
        config_class: of the method.
        settings: of the method, as they were given.
        epochs: of the run.
        training: says how long the run will be; it is asked where the queue depends on that.
        earlier: the settings of the run to resume, whose numbers stay; empty without one.

    Returns:
        The number of every setting that is `auto`.

    Raises:
        UserError: a setting is not allowed, see `from_settings`.
    """
    config = from_settings(config_class, settings)
    names = [name for name in lengths_of(config_class) if getattr(config, name) == AUTO]
    if not names:
        return {}
    before = earlier()
    kept = {name: before[name] for name in names if isinstance(before.get(name), int)}
    config = dataclasses.replace(config, **kept)
    queue = None
    if config.queue_size == AUTO:
        queue = lengths.queue_size(training(), config.KEYS_PER_IMAGE)
    config = config.settled(epochs, queue)
    return {name: getattr(config, name) for name in names}


def lengths_of(config_class: type[DistillationConfig]) -> list[str]:
    """The settings whose numbers may be left to the run."""
    return [
        option.name
        for option in dataclasses.fields(config_class)
        if option.metadata["parse"] is whole_or_auto
    ]
