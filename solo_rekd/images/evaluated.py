"""The images that networks are evaluated on, without augmentation and without a host."""

from collections.abc import Sequence
from typing import Any

from torchvision import datasets

from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.folders import refuse_folders, refuse_one_class
from solo_rekd.images.sets import ClassFolders
from solo_rekd.images.transforms import plain_transform
from solo_rekd.utils.errors import UserError


def evaluation_sets(
    dataset: str,
    train: str,
    val: str | None,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    resize_to: int | None = None,
) -> dict[str, Any]:
    """Opens the training and the validation images; torchvision downloads CIFAR and STL-10.

    Args:
        dataset: `custom` for the user's own image folders, or one of `data_sets.NAMES`.
        train: folder of the training images.
        val: folder of the validation images.
        size: side of the network's images, in px; for image folders, like mean and std: both hosts
            fix those of CIFAR and STL-10.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        resize_to: side to which the images are then resized, in px; None: not resized.

    Returns:
        Data sets `train` and `val` of (image, label) in a fixed order, each with the names of its
        `classes`.

    Raises:
        UserError: there are no validation images, a folder cannot be read, a class has no image,
            or the two hold different classes.
    """
    if val is None:
        raise UserError(f"--dataset {dataset} needs --val_dir, a folder of --data_dir")
    transform = plain_transform(dataset, size, mean, std, resize_to)
    if dataset in FOLDERS:
        refuse_folders({"train_dir": train, "val_dir": val})
        refuse_one_class("train_dir", train)
        return {"train": ClassFolders(train, transform), "val": ClassFolders(val, transform)}
    if dataset == "stl10":
        return {
            "train": datasets.STL10(train, "train", transform=transform, download=True),
            "val": datasets.STL10(val, "test", transform=transform, download=True),
        }
    cifar = datasets.CIFAR10 if dataset == "cifar10" else datasets.CIFAR100
    return {
        "train": cifar(train, train=True, transform=transform, download=True),
        "val": cifar(val, train=False, transform=transform, download=True),
    }
