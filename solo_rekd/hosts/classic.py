"""Adapter to the classic host: solo-learn 1.0.2 from PyPI (argparse, pytorch_lightning 1.x)."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from solo.args import setup
from solo.methods import METHODS
from solo.methods.base import BaseMomentumMethod
from solo.utils.auto_resumer import AutoResumer
from solo.utils.pretrain_dataloader import prepare_transform
from torch.utils.data import DataLoader

from solo_rekd import errors
from solo_rekd.config import add_flags, from_settings
from solo_rekd.errors import refuse
from solo_rekd.hosts import classic_arguments, classic_backbones, classic_mends, mends
from solo_rekd.hosts.classic_run import ClassicRun, same_run_only
from solo_rekd.hosts.distilled import Distilled, is_registered, register
from solo_rekd.hosts.last_accuracy import LastAccuracyHooks
from solo_rekd.hosts.online_knn import OnlineKnnHooks
from solo_rekd.hosts.refused import RemoveRefused
from solo_rekd.hosts.teacher_colours import Colours, colours_of
from solo_rekd.objectives import HostRun


class ClassicMethod(Distilled, BaseMomentumMethod):
    """The classic host's momentum method with one of our objectives."""

    def __init__(self, **kwargs: Any) -> None:
        config = from_settings(self.objective_class.config_class, kwargs)
        super().__init__(**kwargs)
        if self.num_large_crops != 2 or self.multicrop:
            raise refuse("num_crops_per_aug", kwargs["num_crops_per_aug"], "2 crops of one size")
        img_size = kwargs["crop_size"][0]
        run = HostRun(
            self.features_dim, self.num_classes, img_size, self.max_epochs, *view_colours(kwargs)
        )
        self.objective = self.objective_class(config, run)

    def loader_without_dali(self) -> DataLoader:
        """The host's other loader, of the same images; its data set is in DALI's order."""
        from solo_rekd.hosts.classic_loaders import pretrain_loader

        args = Namespace(**self.extra_args, batch_size=self.batch_size)
        return pretrain_loader(args)

    @classmethod
    def add_model_specific_args(cls, parent_parser: ArgumentParser) -> ArgumentParser:
        """Adds the host's flags and the objective's."""
        parser = BaseMomentumMethod.add_model_specific_args(parent_parser)
        add_flags(parser, cls.objective_class.config_class, cls.name)
        return parser


def view_colours(settings: Mapping[str, Any]) -> Colours | tuple[()]:
    """The colours of a run's views; nothing where it was built without a data set."""
    if "transform_kwargs" not in settings:
        return ()
    kwargs = settings["transform_kwargs"]
    first = kwargs if isinstance(kwargs, dict) else kwargs[0]
    return colours_of(prepare_transform(settings["dataset"], **first))


class OnlineKnn(OnlineKnnHooks, pl.Callback):
    """The online kNN of `online_knn.py`, as a callback of this host's Lightning."""


class LastAccuracy(LastAccuracyHooks, pl.Callback):
    """What `last_accuracy.py` keeps of a linear evaluation, for the command."""


def is_ours(model: Any) -> bool:
    """Whether a model that is trained has a method or an encoder of the plug-in."""
    return isinstance(model, Distilled) or "plugin_encoder" in getattr(model, "backbone_args", ())


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes what a refused run has written, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """What the plug-in adds to every trainer of this host; each acts on runs of ours alone."""
    return [ClassicRun(), OnlineKnn(is_ours), RemoveRefusedRun()]


def activate() -> None:
    """Mends and extends the host, once."""
    if is_registered(METHODS):
        return
    errors.install_excepthook()
    mends.apply()
    classic_mends.apply()
    if classic_arguments.has_dali():
        from solo_rekd.hosts import classic_dali

        classic_dali.apply()
    classic_backbones.register()
    AutoResumer.find_checkpoint = same_run_only(AutoResumer.find_checkpoint)
    setup.parse_args_pretrain = classic_arguments.finish_pretrain(setup.parse_args_pretrain)
    setup.parse_args_linear = classic_arguments.finish_linear(setup.parse_args_linear)
    register(METHODS, ClassicMethod)
