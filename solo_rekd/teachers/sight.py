"""How a teacher sees images: as it was asked to, as it was trained to, or as the student does."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.config import AUTO, NATIVE, DistillationConfig
from solo_rekd.teachers.views import TeacherViews, make_views
from solo_rekd.utils.errors import UserError, refuse

TOLERANCE = 1e-6  # for numbers that were written and read back

_log = logging.getLogger("solo_rekd")

Colours = tuple[float, ...]


@dataclass(frozen=True)
class Sight:
    """How a network sees images.

    Attributes:
        size: side of the images, in px.
        mean: channel means, in [0, 1]; None: neither mean nor std is known.
        std: channel standard deviations, in [0, 1].
    """

    size: int
    mean: Colours | None = None
    std: Colours | None = None

    def __str__(self) -> str:
        if self.mean is None or self.std is None:
            return f"{self.size} px"
        mean, std = (" ".join(f"{value:g}" for value in each) for each in (self.mean, self.std))
        return f"mean {mean}, std {std}, {self.size} px"

    def record(self) -> dict[str, Any]:
        """Returns what a checkpoint records of it."""
        mean, std = (values and list(values) for values in (self.mean, self.std))
        return {"mean": mean, "std": std, "size": self.size}


def settle_sight(
    config: DistillationConfig, known: Preprocessing, student: Sight, size: int
) -> Sight:
    """Settles how a teacher sees images.

    Args:
        config: settings with `teacher_mean` and `teacher_std`.
        known: preprocessing that its file records.
        student: how the student sees the views that the teacher gets.
        size: side of the images that the teacher is built for, in px.

    Returns:
        What is asked for, else what the file records, else the student's.
    """
    asked = {name: getattr(config, name) for name in ("teacher_mean", "teacher_std")}
    mean, std = (
        own if given == AUTO else given
        for given, own in zip(asked.values(), (known.mean, known.std), strict=True)
    )
    if student.mean is None or student.std is None:
        for name, given in asked.items():
            if given != AUTO:
                limit = "auto where the mean and std of the student's images are not known"
                raise UserError(f"{name}={given!r} is not allowed: expected {limit}")
        if known.mean is not None:
            _log.warning(
                "teacher %s was trained with mean %s (%s), but gets the student's images as they "
                "are: the mean and std that normalise those are not known",
                config.teacher,
                known.mean,
                known.source,
            )
        return Sight(size)
    return Sight(size, _near(mean, student.mean), _near(std, student.std))


def settle_size(config: DistillationConfig, known: Preprocessing, student: Sight) -> int:
    """Settles the side of a teacher's views, in px.

    Args:
        config: settings with `teacher_size`.
        known: preprocessing that its file records.
        student: how the student sees the views.

    Raises:
        UserError: the file does not record the size that is asked for.
    """
    if config.teacher_size == AUTO:
        return student.size
    if config.teacher_size != NATIVE:
        return int(config.teacher_size)
    if known.size is None:
        limit = f"auto or a number of px: {config.teacher_checkpoint} does not record it"
        raise refuse("teacher_size", NATIVE, limit)
    return known.size


def _near(own: Colours | None, students: Colours) -> Colours:
    """Returns the teacher's numbers; the student's if none are known or only rounding differs."""
    pairs = zip(own or students, students, strict=True)
    same = own is None or all(isclose(a, b, abs_tol=TOLERANCE) for a, b in pairs)
    return students if same else own  # type: ignore[return-value]


def views_between(student: Sight, teacher: Sight) -> TeacherViews | None:
    """Returns the module that converts the student's views to the teacher's; None: not needed."""

    def parts(sight: Sight) -> tuple[Sequence[float], Sequence[float], int]:
        return sight.mean or (0.0,) * 3, sight.std or (1.0,) * 3, sight.size

    return make_views(parts(student), parts(teacher))


def describe_sight(config: DistillationConfig, teacher: Sight, known: Preprocessing) -> str:
    """Describes a teacher's preprocessing and its source for the log; warns if it is doubtful."""
    asked = AUTO not in (config.teacher_mean, config.teacher_std)
    if known.doubtful and not asked and teacher.mean is not None:
        _log.warning(
            "teacher_checkpoint=%r has no classifier, so it may not be %s: if it is from a paper "
            "such as DINO, give teacher_mean=%s teacher_std=%s, ImageNet's",
            config.teacher_checkpoint,
            known.source,
            *(",".join(map(str, each)) for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)),
        )
    told = "as asked" if asked else known.source or "as the student"
    return f", sees {teacher} ({told})"
