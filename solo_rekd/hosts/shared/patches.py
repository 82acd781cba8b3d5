"""What both hosts need changed: they are for torchmetrics below 1 and five classes.

Each mend is applied from outside, once, and says what breaks without it; none touches a loss.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from solo.methods import base, linear
from solo.utils import knn, metrics
from torchmetrics import Metric


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


def apply() -> None:
    """Applies every mend; the caller sees to it that this happens once."""
    metric: Any = Metric  # typed as Any, for mypy rejects every assignment to a method
    metric.__init__ = without_compute_on_step(metric.__init__)
    # Metric.forward of torchmetrics 1 computes on every batch; the host only accumulates.
    knn.WeightedKNNClassifier.forward = lambda self, *args, **kw: self.update(*args, **kw)
    accuracy = at_most_the_classes(metrics.accuracy_at_k)
    for module in (metrics, base, linear):
        module.accuracy_at_k = accuracy
