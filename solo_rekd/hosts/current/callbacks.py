"""The plug-in's callbacks for the current host's Lightning."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from solo.methods.linear import LinearModel

from solo_rekd.hosts.current import backbones, watch
from solo_rekd.hosts.current.evaluation import has_dali
from solo_rekd.hosts.current.run import CurrentRun
from solo_rekd.hosts.shared.last_accuracy import LastAccuracyHooks
from solo_rekd.hosts.shared.lost_processes import LostProcessesHooks
from solo_rekd.hosts.shared.method import Distilled, refuse_empty_epoch
from solo_rekd.hosts.shared.online_knn import OnlineKnnHooks
from solo_rekd.hosts.shared.ownership import is_claimed
from solo_rekd.hosts.shared.refused import RemoveRefused
from solo_rekd.hosts.shared.speed import SpeedHooks
from solo_rekd.hosts.shared.starting_weights import StartingWeightsHooks
from solo_rekd.hosts.shared.unreadable import UnreadableHooks


class OnlineKnn(OnlineKnnHooks, pl.Callback):
    """The online kNN of `online_knn.py`, as a callback of this host's Lightning."""


class LinearAccuracy(LastAccuracyHooks, pl.Callback):
    """Prints the accuracy of a linear evaluation, which the host only logs."""

    def acts_on(self, pl_module: Any) -> bool:
        """Whether it is the host's linear evaluation."""
        return isinstance(pl_module, LinearModel)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Prints the accuracy with its protocol, once."""
        if not self.acts_on(pl_module) or not trainer.is_global_zero or self.accuracy is None:
            return
        if watch.current() is not None:  # the command reports it
            return
        kind = (
            "fine-tuned backbone" if pl_module.finetune else "linear classifier on frozen features"
        )
        top1, top5 = self.accuracy
        print(
            f"linear top-1 {top1:.2f}, top-5 {top5:.2f} ({kind}, "
            f"{self.epochs(pl_module.max_epochs)}, {pl_module.optimizer} lr {pl_module.lr:g}, "
            f"batch {pl_module.batch_size}, {self.side} px, {self.when(trainer)})"
        )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Refuses an evaluation that trained or evaluated nothing."""
        if self.acts_on(pl_module):
            refuse_empty_epoch(pl_module)
            self.top()


def is_ours(model: Any) -> bool:
    """Whether a trained model has our method or backbone, or belongs to our command."""
    backbone = getattr(model, "backbone_name", None)
    return (
        is_claimed()
        or isinstance(model, Distilled)
        or (isinstance(backbone, str) and backbones.is_ours(backbone))
    )


class StartingWeights(StartingWeightsHooks, pl.Callback):
    """Loads the weights of `student_checkpoint`, in a trainer of this host."""

    network = "backbone"

    def settings(self, module: Any) -> Mapping[str, Any]:
        """Returns the configuration of a pretraining; a linear evaluation uses no such file."""
        return {} if isinstance(module, LinearModel) else getattr(module, "cfg", {})

    def name(self, module: Any) -> str:
        """The backbone's name."""
        return str(module.backbone_name)


class Speed(SpeedHooks, pl.Callback):
    """Sets memory format and compilation, in a trainer of this host."""


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes the files of a refused run, in a trainer of this host."""


class Unreadable(UnreadableHooks, pl.Callback):
    """Reports photos that could not be read, in a trainer of this host."""


class LostProcesses(LostProcessesHooks, pl.Callback):
    """Ends a training of which a process is lost, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """Returns the callbacks that the plug-in adds to our runs."""
    ours: list[pl.Callback] = [
        CurrentRun(),
        StartingWeights(),
        Speed(),
        OnlineKnn(is_ours),
        LinearAccuracy(),
        RemoveRefusedRun(),
        Unreadable(),
        LostProcesses(is_ours),
        *watch.callbacks(),
    ]
    if has_dali():
        from solo_rekd.hosts.current import dali

        ours.append(dali.WithoutValidation())
    return ours
