"""Every change to the classic host's loading by NVIDIA DALI; imported only where that is installed.

The host was written for pytorch-lightning 1.4 and a GPU. Each mend says what breaks without it.
Those of the pipelines and of the iterator are subclasses, which take the places of the host's.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvidia.dali import ops
from nvidia.dali.pipeline import Pipeline
from solo.methods import dali
from solo.utils import dali_dataloader

from solo_rekd.errors import refuse
from solo_rekd.hosts.dali import AnySize, fit_machine
from solo_rekd.hosts.evaluation import MEAN, STD
from solo_rekd.image_sets import ClassFolders, FlatFolder

_Host: Any = object  # mypy: the host's class, which stands behind this one


class AnyMachine(Pipeline):
    """Comes between the host's pipelines and DALI's, on any machine: see `fit_machine`.

    A second base of the subclasses below.
    """

    def __init__(self, batch_size: int, num_threads: int, device_id: int, seed: int) -> None:
        super().__init__(batch_size, *fit_machine(num_threads, seed))


def list_images(folder: Path, no_labels: bool) -> list[tuple[str, int]]:
    """Lists images with their labels, -1 where `no_labels`, as the host does without DALI."""
    if no_labels:
        flat = FlatFolder(folder)
        return [(str(flat.root / name), -1) for name in flat.images]
    return ClassFolders(folder).samples


class ListedImages(_Host):
    """Reads the images that are read without DALI, which takes hidden folders for classes.

    To be put in front of the host's pipelines of classification.

    Args:
        data_path: path of the image folder.
        validation: whether the images are read in their order.
        shard_id: which part of the images to read.
        num_shards: number of parts.
        kwargs: the host's.
    """

    def __init__(
        self,
        data_path: Any,
        *,
        validation: bool = False,
        shard_id: int = 0,
        num_shards: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_path, validation=validation, **kwargs)
        files, labels = zip(*list_images(Path(data_path), no_labels=False), strict=True)
        self.reader = ops.readers.File(
            files=list(files),
            labels=list(labels),
            shard_id=shard_id,
            num_shards=num_shards,
            shuffle_after_epoch=not validation,
        )


class ImagenetPipeline(ListedImages, dali_dataloader.NormalPipeline, AnyMachine):
    """The host's pipeline of classification, on any machine."""


class EvaluationPipeline(ListedImages, AnySize, dali_dataloader.CustomNormalPipeline, AnyMachine):
    """The host's pipeline for image folders, at any size and on any machine."""


class IndexedPipeline(dali_dataloader.PretrainPipeline, AnyMachine):
    """Crops for pretraining with the index of each image, from which its label is looked up.

    The host makes indexes up, or with `--encode_indexes_into_labels` takes every file of a class
    folder for an image, and knows no indexes of images without labels.

    Args:
        data_path: path of the image folder.
        no_labels: whether it holds the images themselves, not a folder a class.
        shard_id: which part of the images to read.
        num_shards: number of parts.
        kwargs: the host's.

    Raises:
        UserError: there are too few images for one batch.
    """

    def __init__(
        self,
        data_path: Any,
        *,
        no_labels: bool = False,
        encode_indexes_into_labels: bool = True,  # as the host calls it; no longer a choice
        shard_id: int = 0,
        num_shards: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_path, **kwargs)
        images = list_images(Path(data_path), no_labels)
        if len(images) < self.max_batch_size * num_shards:
            limit = f"at most {len(images) // num_shards}, a process's share of {data_path}"
            raise refuse("batch_size", self.max_batch_size, limit)
        files, self.conversion_map = zip(*images, strict=True)
        self.reader = ops.readers.File(
            files=list(files),
            labels=list(range(len(files))),
            shard_id=shard_id,
            num_shards=num_shards,
            shuffle_after_epoch=True,
            # or an epoch begins with the rest of the batch that the last one dropped
            pad_last_batch=True,
        )


class IndexedBatches(dali.PretrainWrapper):
    """Batches of real indexes, crops and labels.

    The host looks labels up on the model's device, where the indexes of a CPU pipeline are not.
    """

    def __init__(self, *, pipelines: IndexedPipeline, **kwargs: Any) -> None:
        kwargs["conversion_map"] = pipelines.conversion_map
        kwargs["model_device"] = "cpu" if pipelines.device == "cpu" else pipelines.device_id
        super().__init__(pipelines=pipelines, **kwargs)


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
    dali.CustomNormalPipeline = functools.partial(
        EvaluationPipeline, crop_size=crop_size, resized=resized, mean=mean, std=std
    )


def apply() -> None:
    """Applies every mend; the caller sees to it that this happens once."""
    dali.NormalPipeline = ImagenetPipeline
    evaluate_at(224, 256, MEAN, STD)
    dali.PretrainPipeline = IndexedPipeline
    dali.PretrainWrapper = IndexedBatches
    put_loaders_first(dali.PretrainABC)
    put_loaders_first(dali.ClassificationABC)
