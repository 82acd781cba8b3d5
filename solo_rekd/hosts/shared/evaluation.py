"""Evaluation on an image folder, at any size: both hosts fix its transforms at 224 px."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torchvision import transforms

from solo_rekd.backbones import SMALL_IMAGE
from solo_rekd.images.files import ENDINGS, has_images, list_classes
from solo_rekd.utils.errors import UserError, refuse

MEAN, STD = (0.485, 0.456, 0.406), (0.228, 0.224, 0.225)  # the classic host's of ImageNet
FOLDERS = ("custom", "imagenet", "imagenet100")  # data sets that are there already, as folders
# px: both hosts evaluate these data sets at one size, whatever is asked for
FIXED_SIDES = {"cifar10": 32, "cifar100": 32, "stl10": 96, "imagenet": 224, "imagenet100": 224}


def needs_size(dataset: str) -> bool:
    """Whether the size of a data set's images is the user's choice in an evaluation."""
    return dataset in FOLDERS and dataset not in FIXED_SIDES


def before_crop(crop_size: int) -> int:
    """The shorter side, in pixels, to which an image is resized before its centre is cropped."""
    # 256 for 224, as on ImageNet; a small image has no border to spare
    return crop_size if crop_size <= SMALL_IMAGE else crop_size * 256 // 224


def refuse_other_classes(train: Sequence[str], val: Sequence[str], names: tuple[str, str]) -> None:
    """Sees to it that two image folders give a label the same meaning.

    Args:
        train: the classes of the training images, in the order of their labels.
        val: those of the validation images.
        names: of both folders, for the message.

    Raises:
        UserError: they hold different classes.
    """
    if list(train) != list(val):
        differing = ", ".join(sorted(set(train) ^ set(val))[:5])
        raise UserError(
            f"{names[0]} and {names[1]} hold different classes: only one of them has {differing}"
        )


def refuse_empty_classes(key: str, path: str, classes: Sequence[str]) -> None:
    """Raises a UserError that names the classes without an image.

    Args:
        key: name of the setting.
        path: the folder of class folders.
        classes: their names.
    """
    empty = [name for name in classes if not has_images(Path(path) / name)]
    if empty:
        raise UserError(
            f"{key}={str(path)!r}: no image in the class folders {', '.join(empty[:5])}: remove "
            f"them, or put images there ({', '.join(ENDINGS)})"
        )


def refuse_folders(paths: Mapping[str, str | None]) -> None:
    """Looks at the classes of the training and validation folder, where both are folders.

    Args:
        paths: of the training and of the validation images, by the name of the setting.

    Raises:
        UserError: one has no class folders, or a class without images, or they hold different
            classes.
    """
    classes = {}
    for key, path in paths.items():
        if path is not None and Path(path).is_dir():
            classes[key] = list_classes(path)
            if not classes[key]:
                raise refuse(key, str(path), "a folder of class folders")
            refuse_empty_classes(key, path, classes[key])
    if len(classes) == 2:
        (first, train), (second, val) = classes.items()
        refuse_other_classes(train, val, (first, second))


def evaluation_pipeline(
    crop_size: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, transforms.Compose]:
    """Training and validation transforms of linear evaluation; at 224 px these are the host's own.

    Both hosts name `build_custom_pipeline` as the place to put such transforms.

    Args:
        crop_size: side of the images in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].

    Returns:
        The host's form: `T_train` and `T_val`.
    """
    tail = [transforms.ToTensor(), transforms.Normalize(mean=tuple(mean), std=tuple(std))]
    return {
        "T_train": transforms.Compose(
            [
                transforms.RandomResizedCrop(size=crop_size, scale=(0.08, 1.0)),
                transforms.RandomHorizontalFlip(),
                *tail,
            ]
        ),
        "T_val": transforms.Compose(
            [transforms.Resize(before_crop(crop_size)), transforms.CenterCrop(crop_size), *tail]
        ),
    }
