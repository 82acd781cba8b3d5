"""Labels of data sets that have them in memory."""

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from solo_rekd.hosts.shared.training_images import SeededViews
from solo_rekd.images.labels import labels_of
from solo_rekd.images.sets import ClassFolders, with_index


class Arrays:
    """A data set as CIFAR and STL-10 are."""

    def __init__(self, **found):
        vars(self).update(found)


def test_those_of_class_folders_are_those_of_their_items(data):
    images = with_index(ClassFolders)(data / "train")
    expected = [label for _, _, label in images]
    assert labels_of(images).tolist() == expected
    assert labels_of(SeededViews(images, 2, 0)).tolist() == expected
    images.samples = images.samples[::-2]  # as a host takes a fraction
    assert labels_of(images).tolist() == expected[::-2]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize("name", ["targets", "labels"])
def test_those_of_arrays(name, kind):
    found = labels_of(Arrays(**{name: kind([2, -1, 0])}))
    assert found.tolist() == [2, -1, 0] and found.dtype == torch.int64


@pytest.mark.parametrize(
    "images",
    [TensorDataset(torch.zeros(3)), Subset(Arrays(targets=[0, 1, 2]), [2, 0])],
)
def test_others_are_not_at_hand(images):
    assert labels_of(images) is None
