"""The jobs of each run: the settings that all arms share, and each arm's own."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.backbones import settle_stem
from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.compare.arms import LR, UNTRAINED, Arm, about, refuse_arm
from solo_rekd.compare.plan import Plan, Run
from solo_rekd.config import AUTO, SIGHT, DistillationConfig, from_settings
from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
)
from solo_rekd.hosts.rates import BATCH
from solo_rekd.hosts.words import override, read_words
from solo_rekd.images.data_sets import SMALL_IMAGE
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.teachers.sight import Sight, settle_sight, settle_size
from solo_rekd.utils.errors import UserError, refuse

AUGMENTATION = View(
    crops=2,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter=0.8,
    grayscale=0.2,
    solarization=0.0,
    flip=0.5,
    min_scale=0.2,
    max_scale=1.0,
)
HEAD = {
    "proj_hidden_dim": DistillationConfig.proj_hidden_dim,
    "proj_output_dim": DistillationConfig.proj_output_dim,
}
INFO_NCE = {"temperature": DistillationConfig.temperature}
MOMENTUM = {"base_tau_momentum": 0.99, "final_tau_momentum": 0.999}
# settings for the host's own methods, where they have them; all others are the host's defaults
OF_HOST = {
    "simclr": HEAD | INFO_NCE,
    "mocov2plus": HEAD | INFO_NCE | MOMENTUM,
}
QUEUE = "queue_size"
# what the comparison sets itself, by the names in a job and in both hosts
RESERVED_FIELDS = (
    *(names.NETWORK | names.IMAGES | names.JOB).values(),
    *(names.PRETRAINING[field] for field in ("method", "seed", "student_checkpoint")),
    *(names.OPTIMIZER["weight_decay"], names.VIEW["size"]),
    *(names.HOST[name] for name in ("name", "save_checkpoint", "checkpoint_dir", "auto_resume")),
)
RESERVED = (
    *(name for names_of_both in RESERVED_FIELDS for name in names_of_both),
    *"lr optimizer.lr mean std data_dir train_dir val_dir no_labels stem host".split(),
    *"data.train_path data.val_path data.no_labels resume_from_checkpoint".split(),
    *"queue_size proj_hidden_dim proj_output_dim".split(),
    *"teacher_mode teacher_checkpoint teacher_stem".split(),
    *"memory_format compile".split(),
    *SIGHT,
    *names.DALI,
    *"devices gpus num_nodes strategy".split(),  # a run is one process
)
TEACHER_SEED = 0
Methods = Mapping[str, Collection[str]]
# for the untrained student: a rate of 0 only sets the BatchNorm statistics, without which features
# are meaningless. In torchvision's MobileNets a batch moves these by just 1 %.
STANDSTILL = Optimizer("sgd", 0.0, weight_decay=0.0, schedule="none")
STANDSTILL_EPOCHS = 5


def teacher_job(plan: Plan, methods: Methods) -> Pretraining:
    """Makes the pretraining of the frozen teacher: the host's MoCo v2+, like any other arm.

    Args:
        plan: the comparison.
        methods: methods of the host, see `Host.methods`.
    """
    network = Network(plan.teacher, plan.teacher_stem)
    job = _shared(plan, network, "mocov2plus", plan.teacher_epochs, TEACHER_SEED, plan.lr)
    return override(
        _with(job, _of_host_method(plan, "mocov2plus", methods)), read_words(plan.extra)
    )


def student_job(
    plan: Plan, run: Run, teacher_checkpoint: str | None, methods: Methods
) -> Pretraining:
    """Makes the pretraining of the student, from the comparison's starting weights if it has any.

    Args:
        plan: the comparison.
        run: one of its runs, but not that of untrained starting weights.
        teacher_checkpoint: file of the comparison's frozen teacher, if the arm shares it.
        methods: methods of the host, see `Host.methods`.
    """
    arm = run.arm
    network, extra = Network(plan.student, plan.stem), read_words(plan.extra)
    if arm.method == UNTRAINED:
        epochs = min(plan.epochs, STANDSTILL_EPOCHS)
        job = _shared(plan, network, "mocov2plus", epochs, run.seed, plan.lr)
        job = override(_with(job, _of_host_method(plan, "mocov2plus", methods)), extra)
        return dataclasses.replace(job, optimizer=STANDSTILL, host={**job.host, "name": UNTRAINED})
    job = _shared(plan, network, arm.method, plan.epochs, run.seed, arm.lr or plan.lr)
    job = dataclasses.replace(job, student_checkpoint=plan.student_checkpoint)
    if arm.distils:
        settings = HEAD | MOMENTUM | _distillation(plan, arm, teacher_checkpoint)
    else:
        settings = _of_host_method(plan, arm.method, methods)
    own = {name: value for name, value in arm.settings.items() if name != LR}
    return _with(override(_with(job, settings), extra), own)


def linear_job(
    plan: Plan, seed: int, checkpoint: str, *, of_teacher: bool = False
) -> LinearEvaluation:
    """Makes the linear evaluation by the host.

    Args:
        plan: the comparison.
        seed: seed of the evaluated run.
        checkpoint: checkpoint of that run.
        of_teacher: whether the teacher is evaluated instead of a student.
    """
    return LinearEvaluation(
        checkpoint=checkpoint,
        network=judged_network(plan, of_teacher=of_teacher),
        images=images_of_teacher(plan) if of_teacher else images_of(plan),
        optimizer=Optimizer("sgd", plan.linear_lr, weight_decay=0.0, schedule="cosine"),
        batch_size=plan.batch_size,
        epochs=plan.linear_epochs,
        seed=seed,
        # the only metric that is read
        host={"check_val_every_n_epoch": plan.linear_epochs} | _memory_format(plan),
    )


def judged_network(plan: Plan, *, of_teacher: bool = False) -> Network:
    """Returns the evaluated network; `of_teacher` is as in `linear_job`."""
    if of_teacher:
        # the stem of its training, whatever the size of the images now
        return Network(plan.teacher, settle_stem(plan.teacher, plan.crop_size, plan.teacher_stem))
    return Network(plan.student, plan.stem)


def refuse_settings(plan: Plan, host: Host) -> None:
    """Refuses wrong arms and extra words before any training.

    Args:
        plan: the comparison.
        host: host that will run it.

    Raises:
        UserError: the host lacks an arm's method, the method lacks a setting, a value is not
            allowed, or the comparison itself sets what a word sets.
    """
    _refuse_queue(plan.queue_size, plan.batch_size)
    for name in read_words(plan.extra):
        # a host may accept abbreviated flags
        if any(own.startswith(name) for own in RESERVED):
            raise UserError(f"{name} after -- is set by the comparison: see compare --help")
    methods = host.methods()
    for arm in plan.arms:
        refuse_arm(arm, methods)
        if not arm.distils:
            _refuse_queue(arm.settings.get(QUEUE, plan.queue_size), plan.batch_size)
            continue
        read_config(plan, arm, "the frozen teacher")


def read_config(plan: Plan, arm: Arm, teacher_checkpoint: str | None) -> DistillationConfig:
    """Returns the settings of an arm with a teacher, as its runs will have them.

    Args:
        plan: the comparison.
        arm: one of its arms.
        teacher_checkpoint: as in `student_job`.

    Raises:
        UserError: a value is not allowed.
    """
    settings = _distillation(plan, arm, teacher_checkpoint) | arm.settings
    settings.pop(LR, None)  # checked already
    with about(arm):
        return from_settings(OBJECTIVES[arm.method].config_class, settings)


def _refuse_queue(size: int | str, batch_size: int) -> None:
    if not str(size).isdecimal() or int(size) < 1 or int(size) % batch_size:
        raise refuse("queue_size", size, f"a multiple of batch_size={batch_size}")


def blur(crop_size: int) -> float:
    """Returns the probability of a blur, which spoils small images; `crop_size` is in px."""
    return 0.0 if crop_size <= SMALL_IMAGE else 0.5


def warmup_epochs(epochs: int) -> int:
    """Returns the epochs of warm-up in a pretraining of `epochs`."""
    return min(10, math.ceil(epochs / 10))


def images_of(plan: Plan) -> Images:
    """Returns the images that every job of a comparison trains on and is evaluated on."""
    root = Path(plan.data)
    return Images(
        train=str(root / plan.train_dir),
        val=str(root / plan.val_dir),
        size=plan.crop_size,
        mean=plan.mean,
        std=plan.std,
        workers=plan.num_workers,
        dali=plan.dali,
    )


def images_of_teacher(plan: Plan) -> Images:
    """Returns the images that the frozen teacher is evaluated on, preprocessed as in the arms."""
    sight, images = sight_of_teacher(plan), images_of(plan)
    images = dataclasses.replace(images, mean=sight.mean, std=sight.std)
    if sight.size == plan.crop_size:
        return images
    # no host resizes images that DALI has loaded
    return dataclasses.replace(images, resize_to=sight.size, dali=None)


def sight_of_teacher(plan: Plan, known: Preprocessing | None = None) -> Sight:
    """Returns how the comparison's frozen teacher sees the images.

    Args:
        plan: the comparison.
        known: preprocessing that the teacher's file records; None: the plan has it already.

    Raises:
        UserError: the file does not record the size that is asked for.
    """
    given = {name: getattr(plan, name) for name in ("teacher", "teacher_checkpoint", *SIGHT)}
    config = DistillationConfig(**given)
    student, known = Sight(plan.crop_size, plan.mean, plan.std), known or Preprocessing()
    return settle_sight(config, known, student, settle_size(config, known, student))


def _shared(
    plan: Plan, network: Network, method: str, epochs: int, seed: int, lr: float
) -> Pretraining:
    rate, warmup = lr * plan.batch_size / BATCH, warmup_epochs(epochs)
    return Pretraining(
        method=method,
        network=network,
        images=images_of(plan),
        views=(dataclasses.replace(AUGMENTATION, blur=blur(plan.crop_size)),),
        optimizer=Optimizer(
            "sgd",
            rate,
            weight_decay=plan.weight_decay,
            schedule="warmup_cosine",
            warmup_epochs=warmup,
            warmup_start_lr=rate / warmup,  # the rate changes once per epoch
        ),
        batch_size=plan.batch_size,
        epochs=epochs,
        classifier_lr=plan.linear_lr,  # for the online probe, whose curve the report shows
        seed=seed,
        host={"name": method} | _memory_format(plan) | ({"compile": True} if plan.compile else {}),
    )


def _memory_format(plan: Plan) -> dict[str, str]:
    return {} if plan.memory_format == AUTO else {"memory_format": plan.memory_format}


def _with(job: Pretraining, settings: Mapping[str, Any]) -> Pretraining:
    return dataclasses.replace(job, settings={**job.settings, **settings})


def _of_host_method(plan: Plan, method: str, methods: Methods) -> dict[str, Any]:
    """Returns the settings for a method of the host; all others are the host's defaults."""
    queue = {QUEUE: plan.queue_size} if QUEUE in methods.get(method, ()) else {}
    return OF_HOST.get(method, {}) | queue


def _distillation(plan: Plan, arm: Arm, teacher_checkpoint: str | None) -> dict[str, Any]:
    """Returns the settings of an arm with a teacher that differ from its defaults."""
    settings: dict[str, Any] = {"queue_size": plan.queue_size, "teacher": plan.teacher}
    if not arm.online:
        settings["teacher_mode"] = "frozen"
    own = arm.settings.get("teacher_checkpoint")
    if own is not None and str(Path(own).resolve()) != plan.teacher_checkpoint:
        return settings  # another file, whose stem need not be the plan's
    settings["teacher_stem"] = plan.teacher_stem
    if arm.shares_teacher or own is not None:  # not for an online teacher from scratch
        sight = {name: getattr(plan, name) for name in SIGHT}
        settings |= {name: value for name, value in sight.items() if value != SIGHT[name]}
    if arm.shares_teacher:
        settings["teacher_checkpoint"] = teacher_checkpoint
    return settings
