"""Whether a teacher gets the colours that it was trained with.

Its images are normalised for the student. Which mean and deviation a file of weights wants is not
written in it: what is known is how the run beside it was trained, or else how the weights that are
published under the network's name were. That is enough for a warning, and too little to change the
images: a teacher that `solo-rekd compare` trained, or the user's own, may have had any.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import Normalize

from solo_rekd.backbones import TIMM
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.hosts.shared.training_images import normalisation
from solo_rekd.objectives import HostRun
from solo_rekd.teachers.teacher import Identity

TOLERANCE = 2e-3  # the hosts' deviations of ImageNet differ by half of it

_log = logging.getLogger("solo_rekd")


class Colours(NamedTuple):
    """How images are normalised: mean and standard deviation a channel, in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in self)
        return f"mean {mean}, std {std}"

    def near(self, other: "Colours") -> bool:
        """Whether both are the same but for rounding."""
        pairs = zip(self.mean + self.std, other.mean + other.std, strict=True)
        return all(abs(a - b) <= TOLERANCE for a, b in pairs)


def make(mean: Sequence[float], std: Sequence[float]) -> Colours:
    """Makes colours of what a setting or a file holds."""
    return Colours(tuple(map(float, mean)), tuple(map(float, std)))


def colours_of(augmentation: Any) -> Colours:
    """The colours of a host's augmentation, which ends with a `Normalize`."""
    channels: Normalize = normalisation(augmentation)
    return make(channels.mean, channels.std)


def wanted(teacher: Identity) -> Colours | None:
    """The colours that a teacher was probably trained with.

    Args:
        teacher: what a checkpoint records of it.

    Returns:
        Those of the run that wrote its file, or else those of the weights published under
        its name; None for a teacher from scratch, and where neither is known.
    """
    name, checkpoint = teacher["name"], teacher["checkpoint"]
    if name is None or checkpoint is None:
        return None
    run = read_student(Path(checkpoint))
    if run.get("encoder") == name:
        return make(run["mean"], run["std"]) if "mean" in run else None
    if not name.startswith(TIMM):
        return make(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return make(config.mean, config.std) if config else None


def warn_of_colours(teacher: Identity, run: HostRun) -> None:
    """Logs one warning where the teacher wants other colours than the run's images have."""
    wish = wanted(teacher)
    if wish is None or run.mean is None or run.std is None:
        return
    given = make(run.mean, run.std)
    if not wish.near(given):
        _log.warning(
            "teacher %s: its weights probably expect images of %s; this run's have %s, for the "
            "teacher too. Give the mean and std that its weights were trained with",
            teacher["name"],
            wish,
            given,
        )
