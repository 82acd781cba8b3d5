"""Adapter to the current host: solo-learn's main branch (Hydra, lightning 2.x)."""

import dataclasses
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig
from solo.data.pretrain_dataloader import (
    CustomDatasetWithoutLabels,
    build_transform_pipeline,
    prepare_dataloader,
    prepare_datasets,
)
from solo.methods import METHODS
from solo.methods.base import BaseMomentumMethod
from solo.utils.misc import omegaconf_select
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd import errors
from solo_rekd.config import from_settings, refuse_unknown
from solo_rekd.errors import UserError, refuse
from solo_rekd.hosts import (
    current_backbones,
    current_errors,
    current_knn,
    current_settings,
    mends,
)
from solo_rekd.hosts.current_evaluation import has_dali
from solo_rekd.hosts.distilled import Distilled, is_registered, refuse_divergence, register
from solo_rekd.hosts.refused import RemoveRefused
from solo_rekd.objectives import HostRun


class CurrentMethod(Distilled, BaseMomentumMethod):
    """The current host's momentum method with one of our objectives.

    Raises:
        UserError: the objective has to know which image is which, and the host makes that up.
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        config = from_settings(self.objective_class.config_class, cfg.method_kwargs)
        img_size = omegaconf_select(cfg, "augmentations[0].crop_size", 224)
        run = HostRun(self.features_dim, self.num_classes, img_size, self.max_epochs)
        self.objective = self.objective_class(config, run)
        needs = self.objective.needs_indexes
        if needs and cfg.data.format == "dali" and not cfg.dali.encode_indexes_into_labels:
            limit = f"True with {needs}, which has to know which image is which"
            raise refuse("dali.encode_indexes_into_labels", False, limit)

    def on_train_batch_end(self, *args: Any) -> None:
        """The host's momentum update; and a training that diverged ends with its epoch."""
        super().on_train_batch_end(*args)
        if self.trainer.is_last_batch:
            refuse_divergence(self)

    def loader_without_dali(self) -> DataLoader:
        """The host's other loader, of the same images; its data set is in DALI's order.

        Raises:
            UserError: DALI does not load the same images.
        """
        data = self.cfg.data
        if data.fraction > 0:
            raise refuse("data.fraction", data.fraction, f"-1 with {self.name} and DALI")
        transform = build_transform_pipeline(data.dataset, self.cfg.augmentations[0])
        dataset = prepare_datasets(
            data.dataset, transform, train_data_path=data.train_path, no_labels=data.no_labels
        )
        if data.no_labels:
            dataset.images.sort()
        listed = self.trainer.train_dataloader.dataset_size
        if listed != len(dataset):
            raise UserError(
                f"data.train_path={str(data.train_path)!r} has {len(dataset)} images in class "
                f"folders, but DALI counts {listed} files: leave nothing but images there"
            )
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


class RemoveRefusedRun(RemoveRefused, pl.Callback):
    """Removes what a refused run has written, in a trainer of this host."""


def callbacks() -> list[pl.Callback]:
    """What the plug-in adds to every trainer of this host; each acts on runs of ours alone."""
    return [RemoveRefusedRun()]


def activate() -> None:
    """Mends and extends the host, once."""
    if is_registered(METHODS):
        return
    errors.install_excepthook()
    current_errors.apply()
    mends.apply(CustomDatasetWithoutLabels)
    if has_dali():
        from solo_rekd.hosts import current_dali

        current_dali.apply()
    current_backbones.register()
    current_settings.apply()
    current_knn.apply()
    register(METHODS, CurrentMethod)
