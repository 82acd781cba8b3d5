"""The plug-in's callbacks for the classic host's Lightning."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from solo_rekd.hosts.classic.run import ClassicRun
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


class LastAccuracy(LastAccuracyHooks, pl.Callback):
    """Keeps the accuracy of a linear evaluation for the command, see `last_accuracy.py`."""


def is_ours(model: Any) -> bool:
    """Whether a trained model has our method or encoder, or belongs to our command."""
    named = "plugin_encoder" in getattr(model, "backbone_args", ())
    return is_claimed() or isinstance(model, Distilled) or named


class Speed(SpeedHooks, pl.Callback):
    """Sets memory format and compilation, in a trainer of this host."""


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes the files of a refused run, in a trainer of this host."""


class NoEmptyTraining(pl.Callback):
    """Refuses a training of no batch, in a trainer of our commands."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """See `refuse_empty_epoch`."""
        refuse_empty_epoch(pl_module)


class StartingWeights(StartingWeightsHooks, pl.Callback):
    """Loads the weights of `--student_checkpoint`, in a trainer of this host."""

    network = "encoder"

    def settings(self, module: Any) -> Mapping[str, Any]:
        """Returns the flags that the model's class does not name; empty for other models."""
        return getattr(module, "extra_args", {})

    def name(self, module: Any) -> str:
        """Returns the encoder's name; the host uses the dispatcher's name for all of ours."""
        return str(module.backbone_args.get("plugin_encoder", module.encoder_name))


class Unreadable(UnreadableHooks, pl.Callback):
    """Reports photos that could not be read, in a trainer of this host."""


class LostProcesses(LostProcessesHooks, pl.Callback):
    """Ends a training of which a process is lost, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """Returns the callbacks that the plug-in adds to our runs."""
    return [
        ClassicRun(),
        StartingWeights(),
        Speed(),
        OnlineKnn(is_ours),
        RemoveRefusedRun(),
        Unreadable(),
        LostProcesses(is_ours),
    ]
