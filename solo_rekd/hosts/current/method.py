"""The current host's momentum method with one of our objectives."""

import dataclasses
from typing import Any

from omegaconf import DictConfig
from solo.data.pretrain_dataloader import (
    build_transform_pipeline,
    prepare_dataloader,
    prepare_datasets,
)
from solo.methods.base import BaseMomentumMethod
from solo.utils.misc import omegaconf_select
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.config import from_settings, refuse_unknown
from solo_rekd.hosts.current.overrides import WITH_DALI
from solo_rekd.hosts.shared.checks import refuse_dali
from solo_rekd.hosts.shared.method import (
    Distilled,
    refuse_divergence,
)
from solo_rekd.hosts.shared.training_images import colours_of
from solo_rekd.images.fingerprint import relative_names
from solo_rekd.objectives import HostRun


class CurrentMethod(Distilled, BaseMomentumMethod):
    """The current host's momentum method with one of our objectives."""

    twin = "momentum_backbone"

    def __init__(self, cfg: DictConfig, teacher: nn.Module | None = None) -> None:
        """Builds the method; `teacher` is a network for `method_kwargs.teacher=module`."""
        super().__init__(cfg)
        config = from_settings(self.objective_class.config_class, cfg.method_kwargs)
        img_size = omegaconf_select(cfg, "augmentations[0].crop_size", 224)
        colours = colours_of(build_transform_pipeline(cfg.data.dataset, cfg.augmentations[0]))
        sizes = (self.features_dim, self.num_classes, img_size, self.max_epochs)
        run = HostRun(*sizes, *colours, teacher)
        self.set_objective(self.objective_class(config, run))

    def begin_epoch_anew(self) -> None:
        """Begins the first epoch anew: this Lightning begins it before `on_train_start`."""
        iter(self.trainer.fit_loop._data_fetcher)

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
            dataset.images = relative_names([path for path, _ in images], dataset.root)
        else:
            dataset.samples = images
        return prepare_dataloader(dataset, self.batch_size, data.num_workers)

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        """Fills in and checks `method_kwargs` from the objective's dataclass, and `momentum`.

        Raises:
            UserError: a key is unknown, or a value of the wrong type or not allowed, or not with
                DALI.
        """
        cfg.momentum = omegaconf_select(cfg, "momentum", {})
        cfg = BaseMomentumMethod.add_and_assert_specific_cfg(cfg)
        config_class = cls.objective_class.config_class
        refuse_unknown(config_class, cfg.method_kwargs)
        settings = dataclasses.asdict(from_settings(config_class, cfg.method_kwargs))
        by_dali = omegaconf_select(cfg, "data.format") == WITH_DALI
        refuse_dali(by_dali, settings)
        cfg.method_kwargs = settings
        return cfg

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        """The host's logits and features; in evaluation also `z`, unit embeddings (B, d)."""
        out = super().forward(X)
        # for main_knn.py; in training the objective embeds the features itself
        if not self.training:
            out["z"] = normalize(self.objective.projector(out["feats"]), dim=1)
        return out
