"""Every change to the classic host's loading by NVIDIA DALI; imported only where that is installed.

The host was written for a GPU. The pipelines and the iterators are subclasses, which take the
places of the host's in a run of ours.
"""

import functools
from collections.abc import Sequence
from typing import Any

from nvidia.dali.pipeline import Pipeline
from solo.methods import dali
from solo.utils import dali_dataloader

from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.hosts.shared.dali import (
    AnySize,
    IndexedBatches,
    IndexedImages,
    ListedImages,
    NamedImages,
    fit_machine,
)
from solo_rekd.images.data_sets import MEAN, STD


class AnyMachine(Pipeline):
    """Comes between the host's pipelines and DALI's, on any machine: see `fit_machine`.

    A second base of the subclasses below.
    """

    _pipe = None  # what DALI's destructor looks at, also in a pipeline that was refused

    def __init__(self, batch_size: int, num_threads: int, device_id: int, seed: int) -> None:
        super().__init__(batch_size, *fit_machine(num_threads, seed))


class ImagenetPipeline(ListedImages, dali_dataloader.NormalPipeline, AnyMachine):
    """The host's pipeline of classification, of the right images and on any machine."""


class EvaluationPipeline(ListedImages, AnySize, dali_dataloader.CustomNormalPipeline, AnyMachine):
    """The host's pipeline for image folders, the same way and at any size."""


class IndexedPipeline(IndexedImages, dali_dataloader.PretrainPipeline, AnyMachine):
    """The host's pipeline of crops for pretraining, with real indexes and on any machine."""


class NamedWrapper(NamedImages, dali.Wrapper):
    """The host's batches of classification, which name a damaged image."""


class IndexedWrapper(IndexedBatches, dali.PretrainWrapper):
    """The host's batches of pretraining, with real indexes.

    The host looks labels up on the model's device, where the indexes of a CPU pipeline are not.
    """

    def __init__(self, pipelines: IndexedPipeline, **kwargs: Any) -> None:
        kwargs["model_device"] = "cpu" if pipelines.device == "cpu" else pipelines.device_id
        super().__init__(pipelines, **kwargs)


def put_loaders_first(mixin: Any) -> None:
    """Lightning 1.9 has the loader hooks in LightningModule, which comes before the host's mix-in.

    Args:
        mixin: the host's class that is mixed in behind a method and brings the loaders.
    """
    hooks = {name: hook for name, hook in vars(mixin).items() if name.endswith("_dataloader")}

    def init_subclass(cls: type) -> None:
        for name, hook in hooks.items():
            setattr(cls, name, hook)

    mixin.__init_subclass__ = classmethod(init_subclass)


def evaluate_at(crop_size: int, resized: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Makes linear evaluation on an image folder use these: see `EvaluationPipeline`."""
    pipeline = functools.partial(
        EvaluationPipeline, crop_size=crop_size, resized=resized, mean=mean, std=std
    )
    RUN.set(dali, "CustomNormalPipeline", pipeline)


def apply() -> None:
    """Makes the host load the images of a run of ours by these classes."""
    evaluate_at(224, 256, MEAN, STD)
    RUN.set(dali, "NormalPipeline", ImagenetPipeline)
    RUN.set(dali, "PretrainPipeline", IndexedPipeline)
    RUN.set(dali, "PretrainWrapper", IndexedWrapper)
    RUN.set(dali, "Wrapper", NamedWrapper)


def patch() -> None:
    """Makes DALI load images at all under Lightning 1.9, in every run."""
    put_loaders_first(dali.PretrainABC)
    put_loaders_first(dali.ClassificationABC)
