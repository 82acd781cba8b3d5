"""The plan of a comparison: every setting that affects its results, and its runs."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from solo_rekd.compare.arms import Arm, parse_arm
from solo_rekd.compare.judge import JUDGE
from solo_rekd.config import AUTO
from solo_rekd.utils.errors import UserError

# a change of any other setting would mix different results in one folder
MAY_CHANGE = (
    "arms",
    "arm_sha256",
    "seeds",
    "first_seed",
    "num_workers",
    "title",
    "judge_by",
    "student_format",
    "teacher_facts",
    "memory_format",
    "compile",
)
LONGEST_NAME = 200  # bytes; file systems allow 255
TEACHER_FOLDER = "runs/teacher/seed-0"


@dataclass(frozen=True)
class Plan:
    """The settings of a comparison.

    Attributes:
        title: of the report.
        data: absolute path of the folder of images.
        train_dir: its folder of training images, in folders named after their classes.
        val_dir: its folder of validation images, in folders named after their classes.
        student: the network that every arm trains.
        stem: its first layers, `auto`, `small` or `imagenet`.
        teacher: the network that the arms with a teacher learn from.
        teacher_stem: its first layers.
        teacher_checkpoint: absolute path of a frozen teacher's weights; None: it is trained here.
        arms: arms that are compared.
        seeds: number of runs per arm.
        epochs: length of every pretraining.
        teacher_epochs: length of the frozen teacher's pretraining.
        crop_size: side of the images that the networks see, in px.
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
        batch_size: images per step, in pretraining and in evaluation.
        lr: learning rate of pretraining for a batch of 256; the host scales it.
        weight_decay: weight decay of pretraining.
        queue_size: length of every arm's queue, in keys.
        linear_epochs: length of the linear evaluation.
        linear_lr: its learning rate.
        knn_k: number of neighbours.
        knn_temperature: temperature of the neighbours' votes.
        num_workers: processes per run that load images.
        extra: the host's words for every pretraining.
        host: solo-learn that trains, `classic` or `main`.
        images: number of images, and a digest of their names and content.
        teacher_sha256: SHA-256 of the given teacher's file, which must not change meanwhile.
        teacher_facts: one line on how that file was read.
        teacher_mean: channel means that normalise the teacher's images, in [0, 1], or `auto`.
        teacher_std: channel standard deviations that normalise them, in [0, 1], or `auto`.
        teacher_size: side to which the teacher's views are resized, in px, `auto` or `native`.
        arm_sha256: SHA-256 of an arm's own teacher's file, by name of the arm; it must not change.
        student_checkpoint: absolute path of the weights that every arm's student starts from; None:
            they are random, by the seed.
        student_sha256: SHA-256 of that file, which must not change meanwhile.
        student_format: format of that file.
        memory_format: of every arm's networks, `auto`, `channels_last` or `contiguous`.
        compile: whether they are compiled in pretraining.
        dali: device that NVIDIA DALI loads the images on in every pretraining and in the host's
            linear evaluation, `cpu` or `gpu`; None: torchvision loads them.
        judge_by: accuracy that the report ranks by, a name of `JUDGES`.
        first_seed: seed of each arm's first run; those of its other runs follow.
    """

    title: str
    data: str
    train_dir: str
    val_dir: str
    student: str
    stem: str
    teacher: str
    teacher_stem: str
    teacher_checkpoint: str | None
    arms: tuple[Arm, ...]
    seeds: int
    epochs: int
    teacher_epochs: int
    crop_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int
    lr: float
    weight_decay: float
    queue_size: int
    linear_epochs: int
    linear_lr: float
    knn_k: int
    knn_temperature: float
    num_workers: int
    extra: tuple[str, ...]
    host: str
    images: str
    teacher_sha256: str | None = None
    teacher_mean: str | tuple[float, ...] = AUTO
    teacher_std: str | tuple[float, ...] = AUTO
    teacher_size: str | int = AUTO
    teacher_facts: str | None = None
    arm_sha256: Mapping[str, str] = field(default_factory=dict)
    student_checkpoint: str | None = None
    student_sha256: str | None = None
    student_format: str | None = None
    memory_format: str = AUTO
    compile: bool = False
    dali: str | None = None
    judge_by: str = JUDGE
    first_seed: int = 0

    @property
    def distils(self) -> bool:
        """Whether any arm has a teacher."""
        return any(arm.distils for arm in self.arms)

    @property
    def has_frozen_teacher(self) -> bool:
        """Whether any arm learns from the comparison's frozen teacher."""
        return any(arm.shares_teacher for arm in self.arms)

    @property
    def all_seeds(self) -> range:
        """The seed of each run of an arm."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def runs(self) -> list["Run"]:
        """Every run, ordered by seed, so that each arm has a first result soon."""
        return [Run(arm, seed) for seed in self.all_seeds for arm in self.arms]

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as JSON can hold it, an arm as its name."""
        return dataclasses.asdict(self) | {"arms": [arm.name for arm in self.arms]}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "Plan":
        """Makes a plan from what `to_json` returned, after it was written and read."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        return cls(**fields | {"arms": tuple(parse_arm(name) for name in settings["arms"])})


@dataclass(frozen=True)
class Run:
    """One training of a comparison.

    Attributes:
        arm: arm that is trained.
        seed: seed of everything random in it.
    """

    arm: Arm
    seed: int

    @property
    def folder(self) -> str:
        """Its folder, relative to the comparison's."""
        name = quote(self.arm.name, safe="+=")
        if len(name) > LONGEST_NAME:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            name = f"{name[: LONGEST_NAME - 13]}-{digest}"
        return f"runs/{name}/seed-{self.seed}"


def check_same(plan: Plan, path: Path) -> Plan:
    """Refuses to resume in a folder with a different plan.

    Args:
        plan: the plan now.
        path: file that an earlier plan may be in.

    Returns:
        The plan, with the digests of the earlier plan's arms, which may be left out now.

    Raises:
        UserError: the plans differ in more than `MAY_CHANGE`, or an arm's teacher's file changed.
    """
    if not path.exists():
        return plan
    try:
        earlier = Plan.from_json(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
        raise UserError(f"{path} is not a plan of this version: choose another --out") from error
    for option in dataclasses.fields(Plan):
        now, before = getattr(plan, option.name), getattr(earlier, option.name)
        if option.name not in MAY_CHANGE and now != before:
            raise UserError(
                f"{option.name}={now!r} differs from {before!r} in {path}, whose runs are kept: "
                "give that value, or another --out"
            )
    for name, digest in plan.arm_sha256.items():
        if earlier.arm_sha256.get(name, digest) != digest:
            raise UserError(
                f"{name}: its teacher_checkpoint is a different file than in {path}, whose runs "
                "are kept: give that file, or another --out"
            )
    return dataclasses.replace(plan, arm_sha256={**earlier.arm_sha256, **plan.arm_sha256})
