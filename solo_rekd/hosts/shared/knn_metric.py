"""The host's kNN under torchmetrics 1; the host is written for torchmetrics below 0.12."""

from typing import Any

from solo.utils.knn import WeightedKNNClassifier
from torch import Tensor
from torchmetrics import Metric


class _WithoutComputeOnStep(Metric):
    """Takes a keyword that torchmetrics dropped in 1.0 and that the host's kNN passes on."""

    def __init__(self, compute_on_step: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class HostKnn(WeightedKNNClassifier, _WithoutComputeOnStep):
    """The host's class, which comes before the keyword's in the order of its bases."""

    k: int
    T: float
    distance_fx: str
    train_features: list[Tensor]
    train_targets: list[Tensor]
    test_features: list[Tensor]
    test_targets: list[Tensor]

    def forward(self, *features: Any, **named: Any) -> None:
        """Adds a batch, see `update`; `Metric.forward` would compute on each."""
        self.update(*features, **named)
