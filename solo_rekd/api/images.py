"""The training images of a user's loop, as objectives read them before training."""

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CIFAR10, CIFAR100, ImageFolder
from torchvision.datasets.folder import default_loader

from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.progress import bar

UNKNOWN = -1  # a label


class TrainingImages(Dataset):
    """A user's data set as (index, image, label), the same every time it is read.

    Args:
        images: data set of images without augmentation, or of (image, label, ...); each image of
            shape (3, H, H) and normalised as the student's views.
        size: H, in px.
        workers: processes that load them.

    Raises:
        UserError: the first item is not such an image.

    Attributes:
        dataset: the given data set, if its files or arrays identify it; else this object, which is
            identified by its pixels.
        transform: None; only `dataset` has one.
    """

    transform = None

    def __init__(self, images: Dataset, size: int, workers: int) -> None:
        self._images, self.workers = images, workers
        self.dataset: Any = images if _is_known(images) else self
        if not hasattr(images, "__len__") or not len(images):
            raise UserError("training_images has no images: give a data set with a length")
        first = _parts(images[0])[0]
        shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        if shape != (3, size, size):
            allowed = f"tensors of shape (3, {size}, {size}), normalised as the student's views"
            raise refuse("training_images[0]", shape, allowed)

    def __len__(self) -> int:
        return len(self._images)  # type: ignore[arg-type]

    def __getitem__(self, place: int) -> tuple[int, Tensor, int]:
        image, label = _parts(self._images[place])
        return place, image, label

    def loader(self, batch_size: int) -> DataLoader:
        """Returns batches of (indexes, images, labels) in order."""
        generator = (
            torch.Generator()
        )  # its own, so that the training's random numbers are untouched
        return DataLoader(self, batch_size, num_workers=self.workers, generator=generator)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all pixels and labels in hexadecimal; loads every image."""
        digest = hashlib.sha256()
        for _, images, labels in bar(self.loader(256), "fingerprint of the images", "batch"):
            for values in (images, labels):
                digest.update(f"{tuple(values.shape)} {values.dtype} ".encode())
                digest.update(values.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _parts(item: Any) -> tuple[Any, int]:
    if not isinstance(item, tuple | list):
        return item, UNKNOWN
    label = item[1] if len(item) > 1 else UNKNOWN
    return item[0], int(label) if isinstance(label, int) or _is_number(label) else UNKNOWN


def _is_number(label: Any) -> bool:
    return isinstance(label, Tensor) and label.numel() == 1 and not label.is_floating_point()


def _is_known(images: Any) -> bool:
    """Whether files or arrays fully identify a data set; those of a subclass may not."""
    if type(images) is ImageFolder:
        return images.loader is default_loader
    return type(images) in (CIFAR10, CIFAR100)
