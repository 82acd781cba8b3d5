"""The data sets of image folders that a run of ours takes in place of its host's.

The host's take the files of hidden folders for a class, turn deep pixels white, do not name a
damaged image, and cannot be pickled for a spawned worker process.
"""

from types import ModuleType
from typing import Any

from solo_rekd.images.sets import ClassFolders, FlatFolder, with_index

_hosts_own: dict[tuple[str, str], Any] = {}


def choose(ours: bool, pretraining: ModuleType, evaluation: ModuleType) -> None:
    """Makes the host build a run's data sets from these classes, or from its own again.

    The host's modules look the names up whenever they build a data set.

    Args:
        ours: whether the run has to do with the plug-in.
        pretraining: the host's module that builds data sets for pretraining.
        evaluation: the one that builds them for evaluation.
    """
    for module, name, replacement in (
        (pretraining, "ImageFolder", ClassFolders),
        (pretraining, "CustomDatasetWithoutLabels", FlatFolder),
        (pretraining, "dataset_with_index", with_index),
        (evaluation, "ImageFolder", ClassFolders),
    ):
        own = _hosts_own.setdefault((module.__name__, name), getattr(module, name))
        setattr(module, name, replacement if ours else own)
