"""The two jobs of a host, pretraining and linear evaluation, independent of the host.

An adapter translates a job into its host's settings and undoes its host's scaling: learning rates
here are absolute, as a step uses them. Fields that are None get the host's own default.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from solo_rekd.utils.errors import refuse, refuse_missing

DEFAULT_SEED = 5  # the default of both hosts' scripts
CSV, TENSORBOARD = "csv", "tensorboard"
LOGS = (CSV, TENSORBOARD)


@dataclass(frozen=True)
class Network:
    """A backbone.

    Attributes:
        name: name of a backbone of the host or of `solo_rekd.backbones`.
        stem: its first layers: `small`, `imagenet`, or `auto`, chosen by the images' size.
    """

    name: str
    stem: str = "auto"


@dataclass(frozen=True)
class Images:
    """The images for training and evaluation.

    Attributes:
        train: folder of the training images, in folders named after their classes; without labels
            a folder with images at any depth, an index of photos, or a text file of paths.
        val: folder of the validation images, in folders named after their classes; None: none.
        size: side of the crops of an image, in px.
        resize_to: side to which an evaluation then resizes them, in px; None: not resized.
        dali: device that NVIDIA DALI loads them on, `cpu` or `gpu`; None: torchvision loads them.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        dataset: `custom` for the user's own folders, or a data set of the host.
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
        crops: number of crops that are drawn this way.
        size: their side in px; None: that of the images.
        min_scale: least share of the image's area.
        max_scale: largest share of the image's area.
        jitter: probability of colour jitter.
        brightness: strength of the jitter in brightness.
        contrast: strength of the jitter in contrast.
        saturation: strength of the jitter in saturation.
        hue: strength of the jitter in hue, up to 0.5.
        grayscale: probability of a grey crop.
        blur: probability of a blur.
        solarization: probability of a solarization.
        flip: probability of a horizontal flip.
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
    """The optimiser and its schedule.

    Attributes:
        name: `sgd` (with momentum 0.9), `lars`, `adam` or `adamw`.
        lr: learning rate of a step, whatever the batch size.
        weight_decay: weight of the L2 penalty.
        schedule: `warmup_cosine`, `cosine`, `step` or `none`; it changes once per epoch.
        warmup_epochs: epochs of warm-up.
        warmup_start_lr: learning rate at the start of the warm-up.
        min_lr: learning rate at the end of a cosine.
        decay_epochs: epochs after which `step` divides the rate by ten.
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
        method: method of the host or of `solo_rekd.objectives`.
        network: network to train.
        images: images to train on.
        views: how crops are drawn.
        optimizer: optimiser and schedule.
        batch_size: images per step and process.
        epochs: passes over the images.
        classifier_lr: learning rate of the online classifier, absolute.
        student_checkpoint: weights file that the student starts from; None: random weights.
        seed: seed of everything random.
        settings: settings of the method, by name.
        host: settings that only the host knows, by the names in `hosts/names.py` or its own.
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
        checkpoint: file that holds the backbone.
        network: the backbone.
        images: images to train and evaluate the classifier on; with `val`.
        optimizer: optimiser and schedule of the classifier.
        batch_size: images per step and process.
        epochs: passes over the images.
        seed: seed of everything random.
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
    """The label-free evaluation of each epoch of a pretraining.

    Attributes:
        images: photos that are not trained on: a folder, at any depth, or a text file of paths.
        number: number of photos to use, above `k`, evenly spread over a larger set.
        k: number of nearest neighbours that student and teacher are compared by, at least 1.
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
    """How a job reports its progress.

    Attributes:
        title: title of a progress bar; None: there is no bar.
        share: function that takes the share of all steps done, in [0, 1], after every step.
        history: file that gets a line of JSON per epoch, see `hosts/shared/progress.py`.
        signal: label-free evaluation after each epoch, in the lines of the history, see
            `hosts/shared/signal.py`; None: none.
        logs: further formats of the history, beside it: any of `LOGS`.
        epoch: function that takes each line of the history after it is written.
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
    """The result of a pretraining.

    Attributes:
        checkpoint: checkpoint of the last epoch; None: none is kept.
        seconds: duration of this part of the training.
        images_per_second: speed of this part.
        metrics: the last value of every logged metric.
    """

    checkpoint: Path | None
    seconds: float
    images_per_second: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Accuracy:
    """The result of an evaluation.

    Attributes:
        top1: top-1 accuracy, in percent.
        top5: top-5 accuracy, in percent.
        protocol: how it was measured, in words.
    """

    top1: float
    top5: float
    protocol: str


class Host(Protocol):
    """A solo-learn, seen through its adapter."""

    name: str  # classic or main
    root: Path  # the folder that holds its package `solo`

    def methods(self) -> Mapping[str, Collection[str]]:
        """Returns the names of all methods, each with the settings that it takes."""

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
            folder: folder for a checkpoint per epoch, in subfolders for the method and the run;
                None: nothing is kept.
            resume: checkpoint of the same job to resume from.
            progress: how to report progress.

        Raises:
            UserError: a setting is not allowed, or the training diverged.
            KeyboardInterrupt: it was interrupted.
        """

    def linear(self, job: LinearEvaluation, folder: Path | None, progress: Progress) -> Accuracy:
        """Runs a linear evaluation; `folder` and the errors are as in `pretrain`."""

    def command(self, job: Job) -> str:
        """Returns the command that repeats a job."""

    def versions(self) -> Mapping[str, str]:
        """Returns the commit or version of the host and its Lightning, by name."""


def to_json(job: Job) -> dict[str, Any]:
    """Converts a job to what JSON can hold."""
    return dataclasses.asdict(job)


def pretraining_from_json(stored: Mapping[str, Any]) -> Pretraining:
    """Makes a pretraining from what `to_json` returned, after it was written and read."""
    views = tuple(View(**view) for view in stored["views"])
    return Pretraining(**{**stored, **_parts(stored), "views": views})


def linear_from_json(stored: Mapping[str, Any]) -> LinearEvaluation:
    """Makes a linear evaluation from what `to_json` returned, after it was written and read."""
    return LinearEvaluation(**{**stored, **_parts(stored)})


def _parts(stored: Mapping[str, Any]) -> dict[str, Any]:
    def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}

    return {
        "network": Network(**stored["network"]),
        "images": Images(**tuples(stored["images"])),
        "optimizer": Optimizer(**tuples(stored["optimizer"])),
    }
