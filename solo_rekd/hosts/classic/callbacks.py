"""The callbacks that the plug-in has for trainers of the classic host's Lightning."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from solo_rekd.hosts.classic.run import ClassicRun
from solo_rekd.hosts.shared.last_accuracy import LastAccuracyHooks
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
    """What `last_accuracy.py` keeps of a linear evaluation, for the command."""


def is_ours(model: Any) -> bool:
    """Whether a model that is trained has our method or encoder, or belongs to our command."""
    named = "plugin_encoder" in getattr(model, "backbone_args", ())
    return is_claimed() or isinstance(model, Distilled) or named


class Speed(SpeedHooks, pl.Callback):
    """Memory format and compilation, in a trainer of this host."""


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes what a refused run has written, in a trainer of this host."""


class NoEmptyTraining(pl.Callback):
    """Refuses a training of no batch, in a trainer of our commands."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """See `refuse_empty_epoch`."""
        refuse_empty_epoch(pl_module)


class StartingWeights(StartingWeightsHooks, pl.Callback):
    """The weights of `--student_checkpoint`, in a trainer of this host."""

    network = "encoder"

    def settings(self, module: Any) -> Mapping[str, Any]:
        """The flags that the model's class does not name; a model of no method has none."""
        return getattr(module, "extra_args", {})

    def name(self, module: Any) -> str:
        """The encoder's name: the host calls every one of ours by the dispatcher's."""
        return str(module.backbone_args.get("plugin_encoder", module.encoder_name))


class Unreadable(UnreadableHooks, pl.Callback):
    """Reports photos that could not be read, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """What the plug-in adds to the trainer of a run of ours."""
    return [
        ClassicRun(),
        StartingWeights(),
        Speed(),
        OnlineKnn(is_ours),
        RemoveRefusedRun(),
        Unreadable(),
    ]
