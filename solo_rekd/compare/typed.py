"""The command that repeats the part of a run that no host does."""

import shlex
from collections.abc import Mapping
from typing import Any

from solo_rekd.hosts.jobs import LinearEvaluation
from solo_rekd.hosts.words import flags, folders
from solo_rekd.images.broken import VARIABLE, skips_broken


def repeatable(command: str) -> str:
    """A command that leaves the same broken images out as this process, whichever host it is of."""
    return f"{VARIABLE}=1 {command}" if skips_broken() else command


def knn_command(job: LinearEvaluation, votes: Mapping[str, Any]) -> str:
    """Returns the command of a kNN evaluation.

    Args:
        job: job with the evaluated checkpoint, network and images.
        votes: `k` and `temperature` of the vote.
    """
    images, network = job.images, job.network
    settings = {
        "pretrained_feature_extractor": job.checkpoint,
        "encoder": network.name,
        "stem": network.stem,
        "dataset": images.dataset,
        **folders(images),
        "crop_size": images.size,
        "resize_to": images.resize_to,
        "mean": images.mean,
        "std": images.std,
        "batch_size": job.batch_size,
        "num_workers": images.workers,
        "memory_format": job.host.get("memory_format"),
        **votes,
    }
    return shlex.join(["solo-rekd", "knn", *flags(settings)])
