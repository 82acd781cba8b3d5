"""The online kNN of a run of ours: the host's class with a computation that holds in every case.

The host's own counts the classes among the validation labels alone, and fails where a class is
missing there; it keeps the training images' features until a validation, over epochs where an epoch
has none, and forgets them at the first of several validations in an epoch.
"""

from collections.abc import Callable
from typing import Any

from torch import cat

from solo_rekd.evaluation.knn import weighted_knn
from solo_rekd.hosts.shared.knn_metric import HostKnn


class OnlineKnn(HostKnn):
    """The host's metric, whose states torchmetrics gathers from all processes."""

    def compute(self) -> tuple[float, float]:
        """Judges the validation images by the training images of the epoch so far.

        Returns:
            Top-1 and top-5 in percent; as in the host -1 where one side has no labelled image.
        """
        sides = self.train_targets, self.test_targets
        if not all(any((labels >= 0).any() for labels in side) for side in sides):
            return -1.0, -1.0
        return weighted_knn(
            cat(self.train_features),
            cat(self.train_targets),
            cat(self.test_features),
            cat(self.test_targets),
            self.k,
            self.T,
            self.distance_fx,
        )

    def forget_validation(self) -> None:
        """Lets go of the validation images, and keeps the training images of this epoch."""
        self.test_features = []
        self.test_targets = []


class OnlineKnnHooks:
    """Hooks of a Lightning callback that gives a run of ours the kNN of this file.

    An adapter puts this class in front of its Lightning's `Callback`.

    Args:
        acts_on: tells whether a module is to get it.
    """

    def __init__(self, acts_on: Callable[[Any], bool]) -> None:
        self.acts_on = acts_on

    def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        """Replaces the kNN, or switches it off where no validation will ask for it."""
        if not getattr(pl_module, "knn_eval", False) or not self.acts_on(pl_module):
            return
        if stage == "fit" and not trainer.enable_validation:
            pl_module.knn_eval = False  # or every epoch gathers features in vain
        theirs = pl_module.knn
        pl_module.knn = OnlineKnn(k=theirs.k, T=theirs.T, distance_fx=theirs.distance_fx)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Makes room for the next validation."""
        if knn := _ours(pl_module):
            knn.forget_validation()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins with no features: those of an earlier epoch are of other weights."""
        if knn := _ours(pl_module):
            knn.reset()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keeps no features after the epoch's last validation."""
        if knn := _ours(pl_module):
            knn.reset()


def _ours(module: Any) -> OnlineKnn | None:
    knn = getattr(module, "knn", None)
    return knn if isinstance(knn, OnlineKnn) else None
