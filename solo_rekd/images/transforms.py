"""The preprocessing of images for evaluation, at any size."""

import functools
from collections.abc import Sequence

from torchvision import transforms

from solo_rekd.images.data_sets import COLOURS, FIXED_SIDES, SMALL_IMAGE
from solo_rekd.images.resize import resize


def before_crop(crop_size: int) -> int:
    """Returns the shorter side, in px, to which an image is resized before the centre crop."""
    # 256 for 224, as on ImageNet; a small image has no border to spare
    return crop_size if crop_size <= SMALL_IMAGE else crop_size * 256 // 224


def evaluation_pipeline(
    crop_size: int, mean: Sequence[float], std: Sequence[float], resize_to: int | None = None
) -> dict[str, transforms.Compose]:
    """Makes the transforms of linear evaluation; at 224 px these are the host's own.

    Both hosts name `build_custom_pipeline` as the place to put such transforms.

    Args:
        crop_size: side of the images in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        resize_to: side to which the crops are resized then, in pixels; None: they stay.

    Returns:
        The host's form: `T_train` and `T_val`.
    """
    tail = _to_tensor(mean, std, resize_to)
    return {
        "T_train": transforms.Compose(
            [
                transforms.RandomResizedCrop(size=crop_size, scale=(0.08, 1.0)),
                transforms.RandomHorizontalFlip(),
                *tail,
            ]
        ),
        "T_val": transforms.Compose([*evaluation_crop(crop_size), *tail]),
    }


def evaluation_crop(crop_size: int) -> list:
    """Returns the steps that make the picture for evaluation, of `crop_size` px."""
    return [transforms.Resize(before_crop(crop_size)), transforms.CenterCrop(crop_size)]


def plain_transform(
    dataset: str,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    resize_to: int | None = None,
) -> transforms.Compose:
    """Makes the transform without augmentation: both hosts' own for a data set, or a folder's.

    Args:
        dataset: one of `data_sets.NAMES`.
        size: side of the images in pixels, of an image folder.
        mean: channel means, in [0, 1], of an image folder.
        std: channel standard deviations, in [0, 1], of an image folder.
        resize_to: as in `evaluation_pipeline`.
    """
    if dataset not in COLOURS:
        return evaluation_pipeline(size, mean, std, resize_to)["T_val"]
    side = FIXED_SIDES[dataset]  # the images of CIFAR have it
    resized = [transforms.Resize((side, side))] if dataset == "stl10" else []
    return transforms.Compose([*resized, *_to_tensor(*COLOURS[dataset], resize_to)])


def _to_tensor(mean: Sequence[float], std: Sequence[float], resize_to: int | None) -> list:
    resized = [] if resize_to is None else [functools.partial(resize, side=resize_to)]
    normalised = transforms.Normalize(mean=tuple(mean), std=tuple(std))
    return [transforms.ToTensor(), *resized, normalised]
