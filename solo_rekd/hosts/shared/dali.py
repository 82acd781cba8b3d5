"""What the DALI loading of both hosts needs: any machine, the right images, any evaluation size.

The hosts assume a GPU, take every file of a class folder for an image and every folder for a class,
and fix evaluation on an image folder at 224 px.
"""

import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from nvidia.dali import fn, ops
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.types import DALIDataType, DALIInterpType

from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.images.sets import ClassFolders
from solo_rekd.utils.errors import UserError, refuse

_Host: Any = object  # mypy: the host's class, which stands behind this one

# A worker that frees a pipeline left by its parent waits for threads that a fork does not copy.
os.register_at_fork(after_in_child=gc.freeze)


def fit_machine(num_threads: int, seed: int) -> tuple[int, int | None, int]:
    """Fits a pipeline's settings to the machine and the run.

    DALI refuses a device where there is no GPU, and `num_workers: 0`, which means no worker process
    to torch, as a number of threads. The hosts' seed is the same in every run, and they take a
    process's place on its machine for its GPU's number, which with `devices: [2, 3]` it is not.

    Args:
        num_threads: as the host has it.
        seed: as the host has it.

    Returns:
        Threads, at least one; device, torch's GPU or None without one; a seed of the run's.
    """
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    return max(1, num_threads), device, seed + torch.initial_seed() % 2**31


def list_images(folder: Path, no_labels: bool) -> list[tuple[str, int]]:
    """Lists images with their labels, -1 where `no_labels`, as they are listed without DALI.

    Raises:
        UserError: see `ClassFolders` and `UnlabelledPhotos`.
    """
    if no_labels:
        return [(path, -1) for path in UnlabelledPhotos(folder).paths()]
    return ClassFolders(folder).samples


def sample(images: list[tuple[str, int]], fraction: float) -> list[tuple[str, int]]:
    """Takes the part of the images that the current host takes for `data.fraction`.

    Args:
        images: path and label of each.
        fraction: in (0, 1), or -1 for all.

    Raises:
        UserError: the fraction is beyond that, or leaves a class without an image.
    """
    if fraction <= 0:
        return images
    from sklearn.model_selection import train_test_split

    labels = [label for _, label in images]
    try:
        return train_test_split(images, train_size=fraction, stratify=labels, random_state=42)[0]
    except ValueError as error:
        limit = f"-1 for all images, or a share between 0 and 1 that fits them: {error}"
        raise refuse("data.fraction", fraction, limit) from error


def decode_checked(decode: Callable[[Any], Any], contents: Any) -> Any:
    """Decodes a batch once all its headers have been read.

    Where DALI's decoder meets a header that it cannot read while it decodes other images, the
    process mostly ends in a segmentation fault. Reading headers alone ends in an error.

    Args:
        decode: the host's operator.
        contents: of the files of a batch, on the CPU.
    """
    shapes = fn.peek_image_shape(contents)
    # always 0, but it makes the decoder wait for the headers
    start = fn.cast(fn.reductions.min(shapes, keep_dims=True) * 0, dtype=DALIDataType.INT32)
    end = fn.cast(contents.shape(), dtype=DALIDataType.INT32)
    return decode(fn.slice(contents, start=start, end=end, axes=[0]))


class ListedImages(_Host):
    """Reads the images that are read without DALI.

    To be put in front of the hosts' pipelines, or builders of pipelines.

    Training shuffles them anew every epoch. DALI draws these orders from no seed, so the run's seed
    decides about the list that is shuffled; the processes of a run share that seed.

    Args:
        data_path: the image folder or, without labels, see `find_photos`.
        batch_size: number of images in a batch.
        shard_id: which part of the images this process reads.
        num_shards: number of such parts.
        data_fraction: part of the images to use, in (0, 1), or -1 for all.
        kwargs: the host's, of which `validation` means to read the images in their order and to
            the last, and `no_labels` that they have no classes.

    Attributes:
        images: path and label of each image.

    Raises:
        UserError: the images cannot be listed, or in training there are too few for one batch.
    """

    batch_key: ClassVar[str] = "batch_size"  # the setting's name in the host

    def __init__(
        self,
        data_path: Any,
        *,
        batch_size: int,
        shard_id: int = 0,
        num_shards: int = 1,
        data_fraction: float = -1.0,
        **kwargs: Any,
    ) -> None:
        training = not kwargs.get("validation", False)
        images = list_images(Path(data_path), kwargs.get("no_labels", False))
        images = sample(images, data_fraction)
        if training and len(images) < batch_size * num_shards:
            limit = f"at most {len(images) // num_shards}, a process's share of {data_path}"
            raise refuse(self.batch_key, batch_size, limit)
        super().__init__(data_path, batch_size=batch_size, **kwargs)
        self.images = images
        self.decode: Any = functools.partial(decode_checked, self.decode)
        order = list(range(len(images)))
        if training:
            generator = torch.Generator().manual_seed(torch.initial_seed())
            order = torch.randperm(len(images), generator=generator).tolist()
        self.reader = ops.readers.File(
            files=[images[index][0] for index in order],
            labels=[self.reader_label(index) for index in order],
            shard_id=shard_id,
            num_shards=num_shards,
            shuffle_after_epoch=training,
            # or an epoch begins with the rest of the batch that the last one dropped
            pad_last_batch=True,
        )

    def reader_label(self, index: int) -> int:
        """The label that the reader gives out with the image at a place in `images`."""
        return self.images[index][1]


class IndexedImages(ListedImages):
    """The same with the place of each image for its label, which `IndexedBatches` looks up.

    The hosts make indexes up, or with `encode_indexes_into_labels` count files that are no images.
    """

    def reader_label(self, index: int) -> int:
        """The place itself."""
        return index


class NamedImages(_Host):
    """Names an image that DALI cannot decode, where DALI ends in a traceback of C++.

    To be put in front of the hosts' iterators.

    Args:
        pipelines: the one pipeline, with the attribute `images`.
        kwargs: the host's.

    Raises:
        UserError: DALI cannot read or decode an image.
    """

    def __init__(self, pipelines: Any, **kwargs: Any) -> None:
        self.images = pipelines.images
        with decoding(self.images):
            super().__init__(pipelines=pipelines, **kwargs)

    def __next__(self) -> Any:
        with decoding(self.images):
            return super().__next__()

    def reset(self) -> None:
        """Begins the next epoch, for which DALI reads ahead."""
        with decoding(self.images):
            super().reset()


class IndexedBatches(NamedImages):
    """Batches of indexes, crops and labels, from a pipeline of `IndexedImages`."""

    def __init__(self, pipelines: Any, **kwargs: Any) -> None:
        kwargs["conversion_map"] = [label for _, label in pipelines.images]
        super().__init__(pipelines, **kwargs)


@contextmanager
def decoding(images: Sequence[tuple[str, int]]) -> Iterator[None]:
    """Turns DALI's error about one of `images` into one that names it.

    Raises:
        UserError: DALI could not read or decode an image in the block.
    """
    try:
        yield
    except RuntimeError as error:
        files = [file for file, _ in images]
        # a name may be a part of another
        named = max((file for file in files if file in str(error)), key=len, default=None)
        damaged = named or first_unreadable(files)
        if damaged is None:
            raise
        raise UserError(
            f"{damaged} cannot be decoded by DALI: replace or remove it, or load without DALI"
        ) from error


def first_unreadable(files: Sequence[str]) -> str | None:
    """Finds the first file whose header DALI cannot read, at some 9,000 files a second.

    DALI names a file whose pixels are damaged, but not one whose header is.
    """

    # one at a time, so that the step that fails is the file's place
    pipeline = Pipeline(1, 1, None, prefetch_queue_depth=1, exec_pipelined=False, exec_async=False)
    with pipeline:
        contents, _ = fn.readers.file(files=list(files))
        pipeline.set_outputs(fn.peek_image_shape(contents))
    pipeline.build()
    for file in files:
        try:
            pipeline.run()
        except RuntimeError:
            return file
    return None


class AnySize(_Host):
    """Images and labels for linear evaluation on an image folder.

    To be put in front of the class that a host names as the place to change its transforms. At
    224 px they are the host's own.

    Args:
        args: the host's.
        crop_size: side of the images in pixels.
        resized: the shorter side before the centre crop of validation, in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        kwargs: the host's.
    """

    def __init__(
        self,
        *args: Any,
        crop_size: int,
        resized: int,
        mean: Sequence[float],
        std: Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        options: dict[str, Any] = {
            "device": self.device,
            "dtype": DALIDataType.FLOAT,
            "output_layout": "CHW",
            "mean": [value * 255 for value in mean],
            "std": [value * 255 for value in std],
        }
        self.resize: Any
        cubic = DALIInterpType.INTERP_CUBIC
        if self.validation:
            self.resize = ops.Resize(device=self.device, resize_shorter=resized, interp_type=cubic)
            options["crop"] = (crop_size, crop_size)
        else:
            self.resize = ops.RandomResizedCrop(
                device=self.device, size=crop_size, random_area=(0.08, 1.0), interp_type=cubic
            )
        self.cmn = ops.CropMirrorNormalize(**options)
