"""What both hosts need changed: they are for torchmetrics below 1, five classes, sound images.

Each mend is applied from outside, once, and says what breaks without it; none touches a loss.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from solo.methods import base, linear
from solo.utils import knn, metrics
from torchmetrics import Metric
from torchvision.datasets import folder

from solo_rekd.errors import UserError
from solo_rekd.files import decoding


def without_compute_on_step(init: Callable[..., None]) -> Callable[..., None]:
    """torchmetrics 1.0 dropped this keyword of Metric, which the host's kNN passes."""

    @functools.wraps(init)
    def initialise(self: Any, *args: Any, compute_on_step: bool = False, **kwargs: Any) -> None:
        init(self, *args, **kwargs)

    return initialise


def at_most_the_classes(accuracy_at_k: Callable[..., Any]) -> Callable[..., Any]:
    """The host asks for top-5 of any number of classes, which fails under five."""

    @functools.wraps(accuracy_at_k)
    def accuracy(outputs: torch.Tensor, targets: torch.Tensor, top_k: Any = (1, 5)) -> Any:
        return accuracy_at_k(outputs, targets, tuple(min(k, outputs.shape[1]) for k in top_k))

    return accuracy


def named(load: Callable[[str], Any]) -> Callable[[str], Any]:
    """torchvision does not say which image of a folder it could not decode."""

    @functools.wraps(load)
    def load_named(path: str) -> Any:
        with decoding(path):
            return load(path)

    return load_named


def named_without_labels(getitem: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """Nor does the host, which takes every file of a folder without labels for an image."""

    @functools.wraps(getitem)
    def get(self: Any, index: int) -> Any:
        with decoding(self.root / self.images[index]):
            return getitem(self, index)

    return get


def without_folders(init: Callable[..., None]) -> Callable[..., None]:
    """And a folder in it too, so that class folders are a few images, too few for a batch."""

    @functools.wraps(init)
    def initialise(self: Any, root: Any, *args: Any, **kwargs: Any) -> None:
        with os.scandir(root) as entries:  # tells most kinds without a look at each file
            inner = next((entry.path for entry in entries if entry.is_dir()), None)
        if inner is not None:
            raise UserError(f"{inner} is a folder: without labels, give one of images alone")
        init(self, root, *args, **kwargs)

    return initialise


def apply(without_labels: Any) -> None:
    """Applies every mend; the caller sees to it that this happens once.

    Args:
        without_labels: the host's class of a folder without labels.
    """
    folder.pil_loader = named(folder.pil_loader)
    without_labels.__init__ = without_folders(without_labels.__init__)
    without_labels.__getitem__ = named_without_labels(without_labels.__getitem__)
    metric: Any = Metric  # typed as Any, for mypy rejects every assignment to a method
    metric.__init__ = without_compute_on_step(metric.__init__)
    # Metric.forward of torchmetrics 1 computes on every batch; the host only accumulates.
    knn.WeightedKNNClassifier.forward = lambda self, *args, **kw: self.update(*args, **kw)
    accuracy = at_most_the_classes(metrics.accuracy_at_k)
    for module in (metrics, base, linear):
        module.accuracy_at_k = accuracy
