"""The two jobs of a host, pretraining and linear evaluation, in words of neither host.

An adapter translates a job into its host's words and undoes its host's arithmetic: rates here are
absolute, what a step is multiplied by. What is None is left to the host's own default.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from solo_rekd.utils.errors import refuse, refuse_missing

DEFAULT_SEED = 5  # of both hosts' scripts
CSV, TENSORBOARD = "csv", "tensorboard"
LOGS = (CSV, TENSORBOARD)


@dataclass(frozen=True)
class Network:
    """A backbone.

    Attributes:
        name: of a backbone of the host or of `solo_rekd.backbones`.
        stem: its first layers: `small`, `imagenet`, or `auto` for the choice by the images' size.
    """

    name: str
    stem: str = "auto"


@dataclass(frozen=True)
class Images:
    """What is trained on and judged by.

    Attributes:
        train: folder of the training images, in folders named after their classes; without labels
            a folder with images at any depth, an index of photos, or a text file of paths.
        val: folder of the validation images, the same; None: there are none.
        size: side of the crops of an image, in px.
        resize_to: side to which an evaluation resizes them for the network, in px; None: they stay.
        dali: device on which NVIDIA DALI loads them, `cpu` or `gpu`; None: torchvision loads them.
        mean: of each colour, in [0, 1].
        std: of each colour, in [0, 1].
        dataset: `custom` for folders of one's own, or a data set of the host.
        labelled: whether the training images have classes.
        workers: processes that load images.
    """

    train: str
    val: str | None = None
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dataset: str = "custom"
    labelled: bool = True
    workers: int | None = None
    resize_to: int | None = None
    dali: str | None = None


@dataclass(frozen=True)
class View:
    """How crops of an image are drawn; probabilities and strengths as in torchvision.

    Attributes:
        crops: how many are drawn so.
        size: their side in px; None: that of the images.
        min_scale: least share of the image's area.
        max_scale: largest share of it.
        jitter: probability of a change of colours.
        brightness: strength of that change.
        contrast: the same.
        saturation: the same.
        hue: the same, up to 0.5.
        grayscale: probability of a grey crop.
        blur: probability of a blur.
        solarization: probability of a solarization.
        flip: probability of a mirror image.
    """

    crops: int = 2
    size: int | None = None
    min_scale: float | None = None
    max_scale: float | None = None
    jitter: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    grayscale: float | None = None
    blur: float | None = None
    solarization: float | None = None
    flip: float | None = None


@dataclass(frozen=True)
class Optimizer:
    """How weights are changed.

    Attributes:
        name: `sgd` (with momentum 0.9), `lars`, `adam` or `adamw`.
        lr: learning rate of a step, whatever the batch.
        weight_decay: weight of the L2 penalty.
        schedule: `warmup_cosine`, `cosine`, `step` or `none`; it moves once per epoch.
        warmup_epochs: in which the rate rises.
        warmup_start_lr: the rate from which it rises.
        min_lr: the rate to which a cosine falls.
        decay_epochs: after which `step` divides the rate by ten.
    """

    name: str
    lr: float
    weight_decay: float | None = None
    schedule: str | None = None
    warmup_epochs: int | None = None
    warmup_start_lr: float | None = None
    min_lr: float | None = None
    decay_epochs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Pretraining:
    """A pretraining.

    Attributes:
        method: of the host or of `solo_rekd.objectives`.
        network: what is trained.
        images: on which.
        views: how crops are drawn.
        optimizer: how weights are changed.
        batch_size: images per step and process.
        epochs: passes over the images.
        classifier_lr: learning rate of the online classifier, absolute.
        student_checkpoint: a file of weights from which the student starts; None: it is drawn.
        seed: of everything random.
        settings: of the method, by name.
        host: what only the host knows, by the names in `hosts/names.py` or by its own.
    """

    method: str
    network: Network
    images: Images
    views: tuple[View, ...]
    optimizer: Optimizer
    batch_size: int
    epochs: int
    classifier_lr: float | None = None
    student_checkpoint: str | None = None
    seed: int = DEFAULT_SEED
    settings: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LinearEvaluation:
    """A linear classifier that is trained on a frozen backbone's features of augmented images.

    Attributes:
        checkpoint: the file that holds the backbone.
        network: the backbone.
        images: what the classifier is trained on and judged by; with `val`.
        optimizer: how its weights are changed.
        batch_size: images per step and process.
        epochs: passes over the images.
        seed: of everything random.
        host: as in `Pretraining`.
    """

    checkpoint: str
    network: Network
    images: Images
    optimizer: Optimizer
    batch_size: int
    epochs: int
    seed: int = DEFAULT_SEED
    host: Mapping[str, Any] = field(default_factory=dict)


Job = Pretraining | LinearEvaluation


@dataclass(frozen=True)
class Signal:
    """What each epoch of a pretraining is judged by without labels.

    Attributes:
        images: photos that are not trained on: a folder, at any depth, or a text file of paths.
        number: of the photos that are looked at, above `k`; those of a larger set are spread.
        k: nearest neighbours that student and teacher are compared by, at least 1.
    """

    images: str
    number: int = 1000
    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise refuse("signal.k", self.k, "1 or more neighbours")
        if self.number <= self.k:
            raise refuse("signal.number", self.number, f"more photos than k={self.k}")


@dataclass(frozen=True)
class Progress:
    """How a job reports what it does.

    Attributes:
        title: of a progress bar; None: there is no bar.
        share: takes the share of all steps done, in [0, 1], after every step.
        history: a file that gets a line of JSON per epoch, see `hosts/shared/progress.py`.
        signal: what a pretraining is judged by after each epoch, in the lines of the history, see
            `hosts/shared/signal.py`; None: nothing.
        logs: further forms of the history, beside it: any of `LOGS`.
        epoch: takes each line of the history after it is written.
    """

    title: str | None = None
    share: Callable[[float], None] | None = None
    history: Path | None = None
    signal: Signal | None = None
    logs: tuple[str, ...] = ()
    epoch: Callable[[Mapping[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        for name in self.logs:
            if name not in LOGS:
                raise refuse("logs", name, LOGS)
        if self.logs and self.history is None:
            raise refuse("logs", self.logs, "none without a history")
        if TENSORBOARD in self.logs:
            refuse_missing((TENSORBOARD,), TENSORBOARD)


@dataclass(frozen=True)
class Pretrained:
    """What a pretraining came to.

    Attributes:
        checkpoint: of the last epoch; None where none is kept.
        seconds: of this part of the training.
        images_per_second: of this part.
        metrics: the last value of every logged metric.
    """

    checkpoint: Path | None
    seconds: float
    images_per_second: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Accuracy:
    """What an evaluation came to.

    Attributes:
        top1: in percent.
        top5: in percent.
        protocol: how it was measured, for people.
    """

    top1: float
    top5: float
    protocol: str


class Host(Protocol):
    """A solo-learn, seen through its adapter."""

    name: str  # classic or main
    root: Path  # the folder that holds its package `solo`

    def methods(self) -> Mapping[str, Collection[str]]:
        """The names of all methods, each with the settings that it takes."""

    def check(self, job: Job) -> Mapping[str, Any]:
        """Reads a job as its run will, and returns every setting as the host has it.

        Raises:
            UserError: the host does not take it.
        """

    def pretrain(
        self, job: Pretraining, folder: Path | None, resume: Path | None, progress: Progress
    ) -> Pretrained:
        """Pretrains.

        Args:
            job: what to do.
            folder: gets a checkpoint per epoch, in a folder of the method and one of the run;
                None: nothing is kept.
            resume: a checkpoint of the same job, from which it resumes.
            progress: how to report.

        Raises:
            UserError: a setting is not allowed, or the training diverged.
            KeyboardInterrupt: it was interrupted.
        """

    def linear(self, job: LinearEvaluation, folder: Path | None, progress: Progress) -> Accuracy:
        """Evaluates linearly; `folder` and the errors are those of `pretrain`."""

    def command(self, job: Job) -> str:
        """What to type to repeat a job."""

    def versions(self) -> Mapping[str, str]:
        """The host and its Lightning: commit or version, by name."""


def to_json(job: Job) -> dict[str, Any]:
    """A job as what JSON can hold."""
    return dataclasses.asdict(job)


def pretraining_from_json(stored: Mapping[str, Any]) -> Pretraining:
    """Makes a pretraining of what `to_json` gave, after it was written and read."""
    views = tuple(View(**view) for view in stored["views"])
    return Pretraining(**{**stored, **_parts(stored), "views": views})


def linear_from_json(stored: Mapping[str, Any]) -> LinearEvaluation:
    """Makes a linear evaluation of what `to_json` gave, after it was written and read."""
    return LinearEvaluation(**{**stored, **_parts(stored)})


def _parts(stored: Mapping[str, Any]) -> dict[str, Any]:
    def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}

    return {
        "network": Network(**stored["network"]),
        "images": Images(**tuples(stored["images"])),
        "optimizer": Optimizer(**tuples(stored["optimizer"])),
    }
