"""The labels of a data set that has them all in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset


def labels_of(dataset: Any) -> Tensor | None:
    """Returns the labels of all images, in order, without reading an image.

    Args:
        dataset: an image folder with `samples` (path, class), or one with `targets` or `labels` as
            CIFAR and STL-10 have them, perhaps in the attribute `dataset` of another one.

    Returns:
        int64, shape (N,), -1 for an image without a label; None where they are not at hand.
    """
    if isinstance(dataset, Subset):
        return None  # its items may have the places of the whole
    listed = getattr(dataset, "dataset", dataset)
    samples = getattr(listed, "samples", None)
    # the hosts shorten `samples` alone
    found = [label for _, label in samples] if samples is not None else None
    for name in ("targets", "labels"):
        found = getattr(listed, name, None) if found is None else found
    return None if found is None else torch.as_tensor(found).long()
