"""The labels of a data set that has them all in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset


def stored_labels(dataset: Any) -> Any:
    """Returns the labels of all images, in order, as a data set stores them.

    Args:
        dataset: an image folder with `samples` (path, class), or one with `targets` or `labels` as
            CIFAR and STL-10 have them.

    Returns:
        A list or an array, of length N; None where there are none.
    """
    if hasattr(dataset, "samples"):  # before `targets`: the hosts shorten `samples` alone
        return [label for _, label in dataset.samples]
    targets = getattr(dataset, "targets", None)
    return getattr(dataset, "labels", None) if targets is None else targets


def labels_of(dataset: Any) -> Tensor | None:
    """Returns the labels of all images, in order, without reading an image.

    Args:
        dataset: see `stored_labels`; perhaps in the attribute `dataset` of another one.

    Returns:
        int64, shape (N,), -1 for an image without a label; None where they are not at hand.
    """
    if isinstance(dataset, Subset):
        return None  # its items may have the places of the whole
    found = stored_labels(getattr(dataset, "dataset", dataset))
    return None if found is None else torch.as_tensor(found).long()
