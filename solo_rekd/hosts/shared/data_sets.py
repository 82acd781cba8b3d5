"""The data sets that replace a host's in our runs.

The host's treat hidden folders as classes, turn pixels of more than 8 bits white, do not name
damaged images, and cannot be pickled for spawned worker processes.
"""

from types import ModuleType

from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.images.sets import ClassFolders, with_index


def choose(pretraining: ModuleType, evaluation: ModuleType) -> None:
    """Makes the host build the data sets of a run of ours from these classes.

    The host's modules look the names up whenever they build a data set.

    Args:
        pretraining: the host's module that builds data sets for pretraining.
        evaluation: the one that builds them for evaluation.
    """
    for module, name, replacement in (
        (pretraining, "ImageFolder", ClassFolders),
        (pretraining, "CustomDatasetWithoutLabels", UnlabelledPhotos),
        (pretraining, "dataset_with_index", with_index),
        (evaluation, "ImageFolder", ClassFolders),
    ):
        RUN.set(module, name, replacement)
