"""What to type to repeat the part of a run that no host does."""

import os
import shlex
from collections.abc import Mapping
from typing import Any

from solo_rekd.hosts.jobs import LinearEvaluation


def knn_command(job: LinearEvaluation, votes: Mapping[str, Any]) -> str:
    """The command of kNN evaluation.

    Args:
        job: whose checkpoint, network and images are judged.
        votes: `k` and `temperature` of the neighbours.
    """
    images, network = job.images, job.network
    folders = [images.train, images.val or images.train]
    root = os.path.commonpath(folders)
    train, val = (os.path.relpath(folder, root) for folder in folders)
    settings = {
        "pretrained_feature_extractor": job.checkpoint,
        "encoder": network.name,
        "stem": network.stem,
        "dataset": images.dataset,
        "data_dir": root,
        "train_dir": train,
        "val_dir": val,
        "crop_size": images.size,
        "mean": images.mean,
        "std": images.std,
        "batch_size": job.batch_size,
        "num_workers": images.workers,
        **votes,
    }
    words = ["solo-rekd", "knn"]
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
