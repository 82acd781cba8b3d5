"""What both hosts need changed: they are written for torchmetrics below 1 and five classes.

None of it touches a loss.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from solo.methods import base, linear
from solo.utils import knn, metrics

from solo_rekd.hosts.shared.changes import Changes
from solo_rekd.hosts.shared.knn_metric import HostKnn


def at_most_the_classes(accuracy_at_k: Callable[..., Any]) -> Callable[..., Any]:
    """The host asks for top-5 of any number of classes, which fails under five."""

    @functools.wraps(accuracy_at_k)
    def accuracy(outputs: torch.Tensor, targets: torch.Tensor, top_k: Any = (1, 5)) -> Any:
        return accuracy_at_k(outputs, targets, tuple(min(k, outputs.shape[1]) for k in top_k))

    return accuracy


def apply(changes: Changes) -> None:
    """Makes the host's methods use `HostKnn` and the accuracy above, as part of `changes`."""
    for module in (knn, base):
        changes.set(module, "WeightedKNNClassifier", HostKnn)
    for module in (metrics, base, linear):
        changes.wrap(module, "accuracy_at_k", at_most_the_classes)
