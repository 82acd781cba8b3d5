"""A job as the classic host's flags."""

from collections.abc import Mapping
from typing import Any

from solo_rekd.backbones import HOST_NAMES, settle_stem
from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import Images, Job, LinearEvaluation, Network, Pretraining
from solo_rekd.hosts.rates import BATCH, rounded
from solo_rekd.hosts.words import flags, folders
from solo_rekd.utils.errors import refuse

GPUS = "gpus"  # their numbers
LARS = {"optimizer": "sgd", "lars": True}  # which this host wraps


def pretraining_flags(job: Pretraining) -> list[str]:
    """The flags of a pretraining."""
    settings = {
        **_common(job),
        **_views(job),
        "lr": rounded(job.optimizer.lr * BATCH / job.batch_size / _gpus(job)),
        **_named(job.optimizer, names.WARMUP),
        **_named(job, names.PRETRAINING),
    }
    if job.optimizer.warmup_epochs == 0:  # or the first epoch has the rate of a warm-up's start
        settings["warmup_start_lr"] = job.optimizer.lr
    # the host names its files by `name`
    return flags(settings | dict(job.settings) | {"name": job.method} | _of_host(job))


def linear_flags(job: LinearEvaluation) -> list[str]:
    """The flags of a linear evaluation."""
    settings = {
        **_common(job),
        "crop_size": job.images.size,
        "resize_to": job.images.resize_to,
        "lr": job.optimizer.lr,
        "seed": job.seed,
        "pretrained_feature_extractor": job.checkpoint,
    }
    return flags(settings | _of_host(job))


def _common(job: Job) -> dict[str, Any]:
    return {
        **folders(job.images),
        **_named(job.images, names.IMAGES),
        "mean": job.images.mean,
        "std": job.images.std,
        names.DALI.classic: job.images.dali is not None,
        "no_labels": not job.images.labelled,
        **_named(job.network, names.NETWORK),
        "stem": _stem(job.network, job.images),
        **_named(job.optimizer, names.OPTIMIZER),
        **(LARS if job.optimizer.name == "lars" else {}),
        **_named(job, names.JOB),
    }


def _named(part: object, table: Mapping[str, names.Name]) -> dict[str, Any]:
    return {name.classic: getattr(part, field) for field, name in table.items()}


def _stem(network: Network, images: Images) -> str | None:
    """The stem to ask for; None: the network knows by itself."""
    if network.stem != "auto":
        return network.stem
    # the host's own choice of these is by the data set's name
    if network.name in HOST_NAMES and images.dataset == "custom" and images.size is not None:
        return settle_stem(network.name, images.size, network.stem)
    return None


def _views(job: Pretraining) -> dict[str, tuple[Any, ...]]:
    found = {}
    for field, name in names.VIEW.items():
        default = job.images.size if field == "size" else None
        values = [getattr(view, field) for view in job.views]
        values = [default if value is None else value for value in values]
        if any(value is not None for value in values):
            found[name.classic] = tuple(values)
    return found


def _of_host(job: Job) -> dict[str, Any]:
    for key, value in job.host.items():
        if "." in key:
            limit = "a flag of solo-learn 1.0.2: this is a key of its main branch"
            raise refuse(key, value, limit)
    return {key: _of_lightning(key, value) for key, value in job.host.items()}


def _of_lightning(key: str, value: Any) -> Any:
    if key in (GPUS, "devices") and isinstance(value, tuple | list):
        return "".join(f"{number}," for number in value)  # one without a comma is a number of them
    # some of Lightning's flags are True where they are not given; the host's never are
    return "False" if value is False and key not in (*names.HOST, names.DALI.classic) else value


def _gpus(job: Job) -> int:
    """How many the host multiplies the rate by."""
    return len(job.host.get(GPUS, (0,)))
