"""Every change to the current host's loading by NVIDIA DALI; imported only where that is installed.

The host was written for a GPU. The builders of pipelines and the iterators are subclasses, which
take the places of the host's in a run of ours.
"""

import functools
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from solo.data import dali_dataloader
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.hosts.shared.dali import (
    AnySize,
    IndexedBatches,
    IndexedImages,
    ListedImages,
    NamedImages,
    fit_machine,
)

_Host: Any = object  # mypy: the host's class, which stands behind this one


class FittedBuilder(_Host):
    """Fits the host's builders to the machine, see `fit_machine`, and passes on their images."""

    num_threads: int
    seed: int
    images: list[tuple[str, int]]
    batch_key = "optimizer.batch_size"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fitted = fit_machine(self.num_threads, self.seed)
        self.num_threads, self.device_id, self.seed = fitted

    def pipeline(self, **kwargs: Any) -> Any:
        """Builds the pipeline, which gets the builder's `images`."""
        pipeline = super().pipeline(**kwargs)
        pipeline.images = self.images
        return pipeline


class ImagenetBuilder(FittedBuilder, ListedImages, dali_dataloader.NormalPipelineBuilder):
    """The host's builder for classification."""


class EvaluationBuilder(
    FittedBuilder, ListedImages, AnySize, dali_dataloader.CustomNormalPipelineBuilder
):
    """The host's builder for image folders, at any size."""


class IndexedBuilder(FittedBuilder, IndexedImages, dali_dataloader.PretrainPipelineBuilder):
    """The host's builder for pretraining."""


class NamedWrapper(NamedImages, dali_dataloader.Wrapper):
    """The host's batches of classification, which name a damaged image."""


class IndexedWrapper(IndexedBatches, dali_dataloader.PretrainWrapper):
    """The host's batches of pretraining, with real indexes."""


class WithoutValidation(pl.Callback):
    """Trains by DALI without validation images.

    The host's script then gives its data a hook that returns None, which Lightning goes through.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Takes such a hook away, before Lightning calls it."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, dali_dataloader.PretrainDALIDataModule):
            hook = vars(data).get("val_dataloader")
            if hook is not None and hook() is None:
                del data.val_dataloader


def evaluate_at(crop_size: int, resized: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Makes linear evaluation on an image folder use these: see `EvaluationBuilder`."""
    builder = functools.partial(
        EvaluationBuilder, crop_size=crop_size, resized=resized, mean=mean, std=std
    )
    RUN.set(dali_dataloader, "CustomNormalPipelineBuilder", builder)


def apply() -> None:
    """Makes the host load the images of a run of ours by these classes."""
    evaluate_at(224, 256, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    RUN.set(dali_dataloader, "NormalPipelineBuilder", ImagenetBuilder)
    RUN.set(dali_dataloader, "PretrainPipelineBuilder", IndexedBuilder)
    RUN.set(dali_dataloader, "Wrapper", NamedWrapper)
    RUN.set(dali_dataloader, "PretrainWrapper", IndexedWrapper)
