"""A job as override words of Hydra: what `main_pretrain.py` and `main_linear.py` are given.

The host multiplies every learning rate by images per step / 256, and by the batches that a step
accumulates; a job's rates are absolute, so they are divided by both here.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import Job, LinearEvaluation, Optimizer, Pretraining, View
from solo_rekd.hosts.names import Name
from solo_rekd.hosts.rates import BATCH, rounded
from solo_rekd.utils.errors import nearest_first, refuse

# The classic host draws a number for every step of an augmentation, this one for those of a
# probability above 0 alone: with this one in its place both draw the same crops.
NEVER = 1e-12
DRAWN = ("jitter", "grayscale", "blur", "solarization", "flip")
PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed"}  # of Lightning 1, and of Lightning 2
WITH_DALI, WITHOUT_DALI = "dali", "image_folder"  # values of the host's switch
COSINE = "cosine"  # of the classic host: here a `warmup_cosine` without a warm-up
# what the host's linear evaluation and its debugging read from the top of a configuration
TOP_KEYS = (
    "name method seed max_epochs finetune auto_augment label_smoothing mixup cutmix "
    "pretrain_method debug_augmentations crop_size".split()
)
_PLAIN = re.compile(r"[A-Za-z_/.][\w/.:-]*", re.ASCII)
_KEYWORDS = ("null", "true", "false", "nan", "inf")

Settings = dict[str, Any]


class Surroundings(NamedTuple):
    """What a job is translated with, beside itself.

    Attributes:
        view: one entry of `augmentations` in the recipe, whose values stand for those not given.
        method: settings of the host's own recipe for the method, by dotted key.
        trainer: the names of the arguments of Lightning's trainer.
        processes: how many train together.
        kwargs: of the backbone.
        trained_by: the method that trained the checkpoint of a linear evaluation, if known.
    """

    view: Mapping[str, Any]
    method: Mapping[str, Any]
    trainer: Collection[str]
    processes: int = 1
    kwargs: Mapping[str, Any] = {}
    trained_by: str | None = None


def settings_of(job: Job, around: Surroundings) -> Settings:
    """Everything that a job sets, by the host's dotted keys.

    Raises:
        UserError: the host's part of the job has a name that is none of the host's.
    """
    of_host = host_settings(job.host, around.trainer)
    of_job = _pretraining(job, around) if isinstance(job, Pretraining) else _linear(job, around)
    shared = _named(names.JOB, job) | _named(names.IMAGES, job.images)
    shared |= _named(names.NETWORK, job.network)
    if job.images.dali is not None:
        shared[names.DALI.current] = WITH_DALI
    shared |= {f"backbone.kwargs.{key}": value for key, value in around.kwargs.items()}
    batches = int(of_host.get("accumulate_grad_batches") or 1)
    images = job.batch_size * around.processes
    rates = unscaled(_optimizer(job.optimizer) | of_job, images, batches, job)
    return shared | rates | of_host


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Writes settings as override words: `++` sets a key whether or not the recipe has it."""
    return [f"++{key}={to_word(value)}" for key, value in settings.items()]


def to_word(value: Any) -> str:
    """Writes a value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{to_word(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _KEYWORDS
        return value if plain else _quoted(value)
    return "[" + ",".join(map(to_word, value)) + "]"


def _quoted(text: str) -> str:
    # a backslash counts where a quote follows it, and a ${ would be replaced by another setting
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'".replace("${", r"\${")


def unscaled(settings: Settings, images: int, batches: int, job: Job) -> Settings:
    """Undoes what the host multiplies its learning rates by.

    Args:
        settings: by the host's keys, the rates absolute.
        images: per step of all processes, those of accumulated batches aside.
        batches: accumulated per step.
        job: whose settings they are.
    """
    by_images, by_batches = images / BATCH, 1
    if isinstance(job, Pretraining):
        by_batches = batches  # which the host's linear evaluation leaves alone
    factors = {
        "optimizer.lr": by_images * by_batches,
        # the host scales it by the images where there is an evaluation alone
        "optimizer.classifier_lr": (by_images if job.images.val else 1) * by_batches,
        "scheduler.min_lr": by_batches,
        "scheduler.warmup_start_lr": by_batches,
    }
    changed = {
        key: rounded(settings[key] / factor)
        for key, factor in factors.items()
        if settings.get(key) is not None and factor != 1
    }
    return settings | changed


def host_settings(given: Mapping[str, Any], trainer: Collection[str]) -> Settings:
    """The host's part of a job, by the host's keys.

    Args:
        given: names of `hosts/names.py`, of Lightning's trainer, or the host's own dotted keys.
        trainer: the names of the trainer's arguments.

    Raises:
        UserError: a name is none of these.
    """
    settings: Settings = {}
    for name, value in given.items():
        if name in names.HOST:
            settings[names.HOST[name].current] = value
        elif name == names.DALI.classic:
            settings[names.DALI.current] = WITH_DALI if value else WITHOUT_DALI
        elif name in trainer or name in TOP_KEYS or "." in name:
            settings[name] = value
        else:
            known = [*names.HOST, names.DALI.classic, *trainer, *TOP_KEYS]
            allowed = f"{nearest_first(name, known)}, or a dotted key of solo-learn's main branch"
            raise refuse(name, value, allowed)
    if "precision" in settings:
        precision = str(settings["precision"])
        settings["precision"] = PRECISIONS.get(precision, precision)
    return settings


def _pretraining(job: Pretraining, around: Surroundings) -> Settings:
    images = job.images
    settings: Settings = {"name": job.method}
    settings |= _named(names.PRETRAINING, job)
    settings |= {
        "data.train_path": images.train,
        "data.val_path": images.val,
        "data.no_labels": not images.labelled,
        "knn_eval.enabled": False,  # as in the classic host, where it is not asked for
        "augmentations": [_view(view, job, around.view) for view in job.views],
    }
    if images.size is not None:
        settings |= {"crop_size": images.size, "data.augmentations.crop_size": images.size}
    settings |= _colours("data.augmentations.", job)
    settings |= around.method
    for name, value in job.settings.items():
        own = names.MOMENTUM.get(name)
        settings[own.current if own else f"method_kwargs.{name}"] = value
    return settings


def _linear(job: LinearEvaluation, around: Surroundings) -> Settings:
    images = job.images
    settings: Settings = {
        "pretrained_feature_extractor": job.checkpoint,
        "pretrain_method": around.trained_by,
        "seed": job.seed,
        "data.train_path": images.train,
        "data.val_path": images.val,
    }
    if images.size is not None:
        settings["data.augmentations.crop_size"] = images.size
    if images.resize_to is not None:
        settings["data.augmentations.resize_to"] = images.resize_to
    return settings | _colours("data.augmentations.", job)


def _optimizer(optimizer: Optimizer) -> Settings:
    settings = _named(names.OPTIMIZER | names.WARMUP, optimizer)
    settings |= {"optimizer.lr": optimizer.lr, "scheduler.interval": "epoch"}
    if optimizer.schedule == COSINE:
        settings |= {"scheduler.name": f"warmup_{COSINE}", "scheduler.warmup_epochs": 0}
    return settings


def _view(view: View, job: Pretraining, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the host's `augmentations`, whole."""
    given = _named(names.VIEW, view)
    if view.size is None and job.images.size is not None:
        given["crop_size"] = job.images.size
    settings: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in recipe.items()
    }
    for key, value in (given | _colours("", job)).items():
        group, _, inner = key.rpartition(".")
        (settings[group] if group else settings)[inner] = value
    for name in DRAWN:
        group, _, inner = names.VIEW[name].current.rpartition(".")
        settings[group][inner] = settings[group][inner] or NEVER
    return settings


def _colours(prefix: str, job: Job) -> Settings:
    given = {"mean": job.images.mean, "std": job.images.std}
    return {f"{prefix}{key}": list(value) for key, value in given.items() if value is not None}


def _named(table: Mapping[str, Name], owner: Any) -> Settings:
    """The fields of a part of a job that are set, by the host's keys."""
    values: Iterable[tuple[str, Any]] = ((name, getattr(owner, name)) for name in table)
    return {
        table[name].current: list(value) if isinstance(value, tuple) else value
        for name, value in values
        if value is not None
    }
