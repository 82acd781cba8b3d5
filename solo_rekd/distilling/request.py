"""What a user asks of a distillation, from the command line or from Python."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solo_rekd.config import CONFIGS, MEMORY_FORMATS
from solo_rekd.hosts.jobs import DEFAULT_SEED
from solo_rekd.hosts.shared.limits import LIMITS
from solo_rekd.utils.errors import UserError, nearest_first, refuse, refuse_beyond
from solo_rekd.utils.files import refuse_absent

CPU, GPU = "cpu", "gpu"
DEVICES = (CPU, GPU)
PRECISIONS = ("32", "16", "bf16")  # as the classic host writes them; the adapters translate
STUDENT, TEACHER = "mobilenet_v3_small", "resnet50"
NATIVE = "native"  # a value of `teacher_size`
FILES = ("teacher_checkpoint", "student_checkpoint", "against")
# these may change when a run is resumed: they do not affect its result
MAY_CHANGE = ("out", "device", "memory_format", "workers", "int8", "against")
LIMITED = {"epochs": "max_epochs", "workers": "num_workers"}  # ours, and the hosts' name


@dataclass(frozen=True)
class Request:
    """What is asked for; `choices.choose` chooses what is None.

    Attributes:
        photos: folders of photos, or text files with one path per line.
        out: folder of the run.
        teacher_checkpoint: file of the teacher's weights.
        student: backbone to train.
        student_checkpoint: a file of weights that the student starts from; None: random weights.
        teacher: backbone of the teacher.
        method: one of ours.
        crop_size: side of the student's views, in px.
        teacher_size: side of the teacher's views, in px.
        batch_size: images per step.
        epochs: passes over the photos.
        hours: time limit of the training, instead of `epochs`.
        lr: learning rate for a batch of 256.
        queue_size: length of the queue, in keys.
        device: `cpu` or `gpu`.
        precision: `32`, `16` or `bf16`.
        memory_format: `auto`, `channels_last` or `contiguous`.
        workers: processes that load photos.
        drawn_views: views of each photo that are drawn once; 0: views are drawn at each step.
        seed: seed of everything random.
        host: solo-learn to train with, as in `solo_rekd.hosts.find`.
        int8: whether to write a quantised network too.
        against: weights file to compare with; None: the weights that the student starts from.
        settings: settings of the method, by name.
        host_words: flags and keys for the host.
    """

    photos: tuple[str, ...]
    out: str
    teacher_checkpoint: str
    student: str = STUDENT
    student_checkpoint: str | None = None
    teacher: str = TEACHER
    method: str | None = None
    crop_size: int | None = None
    teacher_size: int | None = None
    batch_size: int | None = None
    epochs: int | None = None
    hours: float | None = None
    lr: float | None = None
    queue_size: int | None = None
    device: str | None = None
    precision: str | None = None
    memory_format: str | None = None
    workers: int | None = None
    drawn_views: int | None = None
    seed: int = DEFAULT_SEED
    host: str | None = None
    int8: bool = False
    against: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    host_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.photos:
            raise UserError("no photos are given: name a folder, or a .txt file of paths")
        if self.epochs is not None and self.hours is not None:
            raise UserError("give either epochs or hours, not both")
        for name, values in (
            ("method", tuple(CONFIGS)),
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("memory_format", MEMORY_FORMATS),
        ):
            if (value := getattr(self, name)) not in (None, *values):
                raise refuse(name, value, nearest_first(str(value), values))
        for name in ("crop_size", "batch_size", "epochs", "lr", "queue_size", "workers"):
            if (value := getattr(self, name)) is not None:
                refuse_beyond(name, value, *LIMITS[LIMITED.get(name, name)])
        for name, least in (("teacher_size", 1), ("drawn_views", 0)):
            if (value := getattr(self, name)) is not None:
                refuse_beyond(name, value, least)
        if self.hours is not None and not self.hours > 0:
            raise refuse("hours", self.hours, "a number above 0")
        for name in FILES:
            refuse_absent(name, getattr(self, name))

    @property
    def decisive(self) -> dict[str, Any]:
        """Returns what affects the run's result, as JSON would give it back; paths are absolute."""
        found: dict[str, Any] = {}
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if option.name in MAY_CHANGE:
                continue
            found[option.name] = list(value) if isinstance(value, tuple) else value
        found["photos"] = [str(Path(path).absolute()) for path in self.photos]
        for name in FILES:
            if found.get(name) is not None:
                found[name] = str(Path(found[name]).absolute())
        found["settings"] = {name: str(value) for name, value in self.settings.items()}
        return found


def make_request(**options: Any) -> Request:
    """Makes a request from options by name.

    Raises:
        UserError: an option is unknown, or its value is not allowed.
    """
    names = [option.name for option in dataclasses.fields(Request)]
    for name, value in options.items():
        if name not in names:
            raise refuse(name, value, f"an option of distil: {nearest_first(name, names)}")
    return Request(**options)
