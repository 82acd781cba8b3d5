"""Adapter to the current host: solo-learn's main branch (Hydra, lightning 2.x)."""

import dataclasses
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig
from solo.data.pretrain_dataloader import (
    build_transform_pipeline,
    prepare_dataloader,
    prepare_datasets,
)
from solo.methods import METHODS
from solo.methods.base import BaseMomentumMethod
from solo.methods.linear import LinearModel
from solo.utils.auto_resumer import AutoResumer
from solo.utils.misc import omegaconf_select
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd import errors
from solo_rekd.config import from_settings, refuse_unknown
from solo_rekd.hosts import (
    current_backbones,
    current_errors,
    current_features,
    current_knn,
    current_settings,
    mends,
)
from solo_rekd.hosts.current_evaluation import has_dali
from solo_rekd.hosts.current_run import CurrentRun, same_run_only
from solo_rekd.hosts.distilled import (
    Distilled,
    is_registered,
    refuse_divergence,
    refuse_empty_epoch,
    register,
)
from solo_rekd.hosts.last_accuracy import LastAccuracyHooks
from solo_rekd.hosts.online_knn import OnlineKnnHooks
from solo_rekd.hosts.refused import RemoveRefused
from solo_rekd.hosts.teacher_colours import colours_of
from solo_rekd.objectives import HostRun


class CurrentMethod(Distilled, BaseMomentumMethod):
    """The current host's momentum method with one of our objectives."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        config = from_settings(self.objective_class.config_class, cfg.method_kwargs)
        img_size = omegaconf_select(cfg, "augmentations[0].crop_size", 224)
        colours = colours_of(build_transform_pipeline(cfg.data.dataset, cfg.augmentations[0]))
        run = HostRun(self.features_dim, self.num_classes, img_size, self.max_epochs, *colours)
        self.objective = self.objective_class(config, run)

    def on_train_batch_end(self, *args: Any) -> None:
        """The host's momentum update; and a training that diverged ends with its epoch."""
        super().on_train_batch_end(*args)
        if self.trainer.is_last_batch:
            refuse_divergence(self)

    def loader_without_dali(self) -> DataLoader:
        """The host's other loader, of the same images in DALI's order."""
        data = self.cfg.data
        transform = build_transform_pipeline(data.dataset, self.cfg.augmentations[0])
        dataset = prepare_datasets(
            data.dataset, transform, train_data_path=data.train_path, no_labels=data.no_labels
        )
        images = self.trainer.train_dataloader.images
        if data.no_labels:
            dataset.images = [Path(path).name for path, _ in images]
        else:
            dataset.samples = images
        return prepare_dataloader(dataset, self.batch_size, data.num_workers)

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        """Fills in and checks `method_kwargs` from the objective's dataclass, and `momentum`.

        Raises:
            UserError: a key is unknown, or a value of the wrong type or not allowed.
        """
        cfg.momentum = omegaconf_select(cfg, "momentum", {})
        cfg = BaseMomentumMethod.add_and_assert_specific_cfg(cfg)
        config_class = cls.objective_class.config_class
        refuse_unknown(config_class, cfg.method_kwargs)
        cfg.method_kwargs = dataclasses.asdict(from_settings(config_class, cfg.method_kwargs))
        return cfg

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        """The host's logits and features; in evaluation also `z`, unit embeddings (B, d)."""
        out = super().forward(X)
        # for main_knn.py; in training the objective embeds the features itself
        if not self.training:
            out["z"] = normalize(self.objective.projector(out["feats"]), dim=1)
        return out


class OnlineKnn(OnlineKnnHooks, pl.Callback):
    """The online kNN of `online_knn.py`, as a callback of this host's Lightning."""


class LinearAccuracy(LastAccuracyHooks, pl.Callback):
    """Prints what a linear evaluation came to, which the host only logs."""

    def acts_on(self, pl_module: Any) -> bool:
        """Whether it is the host's linear evaluation."""
        return isinstance(pl_module, LinearModel)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Prints the accuracy with its protocol, once."""
        if not self.acts_on(pl_module) or not trainer.is_global_zero or self.accuracy is None:
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
        """Refuses an evaluation that trained or judged nothing."""
        if self.acts_on(pl_module):
            refuse_empty_epoch(pl_module)
            self.top()


def is_ours(model: Any) -> bool:
    """Whether a model that is trained has a method or a backbone of the plug-in."""
    backbone = getattr(model, "backbone_name", None)
    return isinstance(model, Distilled) or (
        isinstance(backbone, str) and current_backbones.is_ours(backbone)
    )


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes what a refused run has written, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """What the plug-in adds to every trainer of this host; each acts on runs of ours alone."""
    ours: list[pl.Callback] = [
        CurrentRun(),
        OnlineKnn(is_ours),
        LinearAccuracy(),
        RemoveRefusedRun(),
    ]
    if has_dali():
        from solo_rekd.hosts import current_dali

        ours.append(current_dali.WithoutValidation())
    return ours


def activate() -> None:
    """Mends and extends the host, once."""
    if is_registered(METHODS):
        return
    errors.install_excepthook()
    current_errors.apply()
    mends.apply()
    if has_dali():
        from solo_rekd.hosts import current_dali

        current_dali.apply()
    current_backbones.register()
    current_settings.apply()
    AutoResumer.find_checkpoint = same_run_only(AutoResumer.find_checkpoint)
    current_features.apply()
    current_knn.apply()
    register(METHODS, CurrentMethod)
