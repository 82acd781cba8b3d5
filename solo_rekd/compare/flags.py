"""The host's flags of each run: what all arms share, and what is an arm's own."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solo_rekd.backbones import HOST_NAMES, SMALL_IMAGE, settle_stem
from solo_rekd.compare.arms import LR, UNTRAINED, Arm, about
from solo_rekd.compare.plan import Plan, Run
from solo_rekd.config import DistillationConfig, RekdConfig, from_settings
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError, refuse

AUGMENTATION = {
    "num_crops_per_aug": 2,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "gray_scale_prob": 0.2,
    "min_scale": 0.2,
}
OPTIMISER = {"optimizer": "sgd", "scheduler": "warmup_cosine"}
PROBE = {"optimizer": "sgd", "scheduler": "cosine", "weight_decay": 0}  # of the host's harness
HEAD = {
    "proj_hidden_dim": DistillationConfig.proj_hidden_dim,
    "proj_output_dim": DistillationConfig.proj_output_dim,
}
INFO_NCE = {"temperature": DistillationConfig.temperature}
MOMENTUM = {"base_tau_momentum": 0.99, "final_tau_momentum": 0.999}
RESERVED = (
    "save_checkpoint checkpoint_dir resume_from_checkpoint auto_resume method name seed stem "
    "max_epochs lr weight_decay queue_size proj_hidden_dim proj_output_dim "
    "teacher_mode teacher_checkpoint teacher_stem "
    "devices gpus num_nodes strategy"  # a run is one process
).split()
TEACHER_SEED = 0
STANDSTILL = {"name": UNTRAINED, LR: 0, "scheduler": "none", "weight_decay": 0}
# They set the statistics of BatchNorm, without which a network's features are none. In
# torchvision's MobileNets a batch moves those by 1 % only.
STANDSTILL_EPOCHS = 5


def teacher_flags(plan: Plan) -> list[str]:
    """The flags that pretrain the frozen teacher: the host's MoCo v2+, as any other arm."""
    network = _network(plan, plan.teacher, plan.teacher_stem)
    settings = _shared(plan, network, "mocov2plus", plan.teacher_epochs, TEACHER_SEED, plan.lr)
    return [*_words(settings | _host_method(plan, "mocov2plus")), *plan.extra]


def pretrain_flags(plan: Plan, run: Run, teacher_checkpoint: str | None) -> list[str]:
    """The flags that pretrain the student.

    Args:
        plan: the comparison.
        run: which of its runs.
        teacher_checkpoint: file of the comparison's frozen teacher, if the arm shares that.
    """
    arm = run.arm
    method, epochs = arm.method, plan.epochs
    own: Mapping[str, Any] = arm.settings
    if method == UNTRAINED:
        method, own, epochs = "mocov2plus", STANDSTILL, min(epochs, STANDSTILL_EPOCHS)
    network = _network(plan, plan.student, plan.stem)
    settings = _shared(plan, network, method, epochs, run.seed, arm.lr or plan.lr)
    if arm.distils:
        settings |= HEAD | MOMENTUM | _distillation(plan, arm, teacher_checkpoint)
    else:
        settings |= _host_method(plan, method)
    common = {name: value for name, value in settings.items() if name not in own}
    return [*_words(common), *plan.extra, *_words(own)]


def linear_flags(plan: Plan, seed: int, *, of_teacher: bool = False) -> list[str]:
    """The flags of the host's linear evaluation.

    Args:
        plan: the comparison.
        seed: of the run that is judged.
        of_teacher: whether the teacher is judged, in place of a student.
    """
    length = {"lr": plan.linear_lr, "max_epochs": plan.linear_epochs, "seed": seed}
    last = {"check_val_every_n_epoch": plan.linear_epochs}  # the only figure that is read
    return _words(_judged(plan, of_teacher) | PROBE | length | last)


def knn_flags(plan: Plan, *, of_teacher: bool = False) -> list[str]:
    """The flags of kNN evaluation; `of_teacher` as in `linear_flags`."""
    votes = {"k": plan.knn_k, "temperature": plan.knn_temperature}
    return _words(_judged(plan, of_teacher) | votes)


def refuse_settings(plan: Plan) -> None:
    """Finds what is wrong with an arm's settings or the extra flags, before any training.

    Raises:
        UserError: a value is not allowed, or a flag is one that the comparison sets itself.
    """
    _refuse_queue(plan.queue_size, plan.batch_size)
    reserved = [*_judged(plan, of_teacher=False), *RESERVED]
    for word in plan.extra:
        name = word.removeprefix("--").partition("=")[0]
        # argparse takes a flag's beginning for the flag; a bare -- begins none
        if word.startswith("--") and name and any(own.startswith(name) for own in reserved):
            raise UserError(f"{word} after -- is set by the comparison: see compare --help")
    for arm in plan.arms:
        if not arm.distils:
            _refuse_queue(arm.settings.get("queue_size", plan.queue_size), plan.batch_size)
            continue
        read_config(plan, arm, "the frozen teacher")


def read_config(plan: Plan, arm: Arm, teacher_checkpoint: str | None) -> DistillationConfig:
    """The settings of an arm with a teacher, as its runs will have them.

    Args:
        plan: the comparison.
        arm: which of its arms.
        teacher_checkpoint: as in `pretrain_flags`.

    Raises:
        UserError: a value is not allowed.
    """
    settings = _distillation(plan, arm, teacher_checkpoint) | arm.settings
    settings.pop(LR, None)  # judged already
    with about(arm):
        return from_settings(OBJECTIVES[arm.method].config_class, settings)


def _refuse_queue(size: int | str, batch_size: int) -> None:
    if not str(size).isdecimal() or int(size) < 1 or int(size) % batch_size:
        raise refuse("queue_size", size, f"a multiple of batch_size={batch_size}")


def stem_of(network: str, stem: str, crop_size: int) -> str | None:
    """The stem to ask for; None: the network knows by itself.

    Args:
        network: its name.
        stem: `auto`, `small` or `imagenet`.
        crop_size: side of the images, in px.
    """
    if stem == "auto" and network in HOST_NAMES:  # the host's own choice is by the data set's name
        return settle_stem(network, crop_size, stem)
    return None if stem == "auto" else stem


def blur(crop_size: int) -> float:
    """Probability of a blur, which small images do not bear; `crop_size` in px."""
    return 0 if crop_size <= SMALL_IMAGE else 0.5


def warmup_epochs(epochs: int) -> int:
    """Epochs in which the learning rate rises, of a pretraining of `epochs`."""
    return min(10, math.ceil(epochs / 10))


def _network(plan: Plan, name: str, stem: str) -> dict[str, Any]:
    chosen = stem_of(name, stem, plan.crop_size)
    return {
        "dataset": "custom",
        "data_dir": plan.data,
        "train_dir": plan.train_dir,
        "val_dir": plan.val_dir,
        "num_workers": plan.num_workers,
        "crop_size": plan.crop_size,
        "mean": plan.mean,
        "std": plan.std,
        "batch_size": plan.batch_size,
        "encoder": name,
        **({"stem": chosen} if chosen else {}),
    }


def _judged(plan: Plan, of_teacher: bool) -> dict[str, Any]:
    if of_teacher:
        return _network(plan, plan.teacher, plan.teacher_stem)
    return _network(plan, plan.student, plan.stem)


def _shared(
    plan: Plan, network: dict[str, Any], method: str, epochs: int, seed: int, lr: float
) -> dict[str, Any]:
    return {
        **network,
        **AUGMENTATION,
        "gaussian_prob": blur(plan.crop_size),
        **OPTIMISER,
        LR: lr,
        "classifier_lr": plan.linear_lr,  # of the online probe, whose curve the report shows
        "weight_decay": plan.weight_decay,
        "warmup_epochs": warmup_epochs(epochs),
        # the host's steps are whole epochs, and this one it does not scale by the batch
        "warmup_start_lr": lr * plan.batch_size / 256 / warmup_epochs(epochs),
        "max_epochs": epochs,
        "method": method,
        "name": method,
        "seed": seed,
    }


def _host_method(plan: Plan, method: str) -> dict[str, Any]:
    if method == "simclr":
        return HEAD | INFO_NCE
    return HEAD | INFO_NCE | MOMENTUM | {"queue_size": plan.queue_size}


def _distillation(plan: Plan, arm: Arm, teacher_checkpoint: str | None) -> dict[str, Any]:
    """What an arm with a teacher is given besides its configuration's defaults."""
    settings: dict[str, Any] = {"queue_size": plan.queue_size, "teacher": plan.teacher}
    if not arm.online:
        settings["teacher_mode"] = "frozen"
    own = arm.settings.get("teacher_checkpoint")
    if own is not None and str(Path(own).resolve()) != plan.teacher_checkpoint:
        return settings  # of another file, whose stem need not be the plan's
    settings["teacher_stem"] = plan.teacher_stem
    if arm.shares_teacher:
        settings["teacher_checkpoint"] = teacher_checkpoint
    elif arm.method == "rekd" and own is None:
        # a short run would end before the teacher's relations count
        settings["teacher_warmup_epochs"] = min(RekdConfig.teacher_warmup_epochs, plan.epochs // 4)
    return settings


def _words(settings: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in settings.items():
        words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words
