"""Data sets of image folders, for both hosts: their classes, orders and results are torchvision's.

They read as `read.load_rgb` reads, list as `files` lists, and can be pickled, so that the
worker processes of a loader may be spawned.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from solo_rekd.images.decoded.chosen import chosen
from solo_rekd.images.decoded.loader import DecodedImages
from solo_rekd.images.files import (
    list_class_images,
    list_classes,
    list_flat_images,
    report_left_out,
)
from solo_rekd.images.read import load_rgb
from solo_rekd.images.tensors import on_tensors

Loader = Callable[[str], Any]


def reader(root: str | Path, transform: Callable | None) -> tuple[Loader, Callable | None]:
    """Says how the images of a folder are read, and by which form of the transform.

    Args:
        root: the folder.
        transform: of each image.

    Returns:
        What takes the path of an image, and the transform of what that gives; both can be pickled.
    """
    decoded = chosen(root)
    if decoded is None:
        return load_rgb, transform
    fitted = on_tensors(transform) if decoded.tensors else None
    return DecodedImages(decoded.folder, root, fitted is not None), fitted or transform


class ClassFolders(ImageFolder):
    """Images in class folders.

    Args:
        root: the folder of class folders.
        transform: of each image.

    Raises:
        UserError: a folder cannot be read, there is no class, a class has no image, or the first
            image cannot be read.
    """

    def __init__(self, root: str | Path, transform: Callable | None = None) -> None:
        loader, transform = reader(root, transform)
        super().__init__(str(root), transform, loader=loader)
        # what is wrong with all images is wrong with the first: known before anything is written
        self.loader(self.samples[0][0])

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Lists the classes, and the label of each."""
        classes = list_classes(directory)
        return classes, {name: label for label, name in enumerate(classes)}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int], *args: Any, **kwargs: Any
    ) -> list[tuple[str, int]]:
        """Lists the images and their labels, and reports what is left out."""
        listing = list_class_images(directory, list(class_to_idx))
        report_left_out(directory, listing)
        return listing.samples


class FlatFolder(Dataset):
    """Images without labels, which lie directly in one folder.

    Args:
        root: the folder.
        transform: of each image.

    Attributes:
        images: names of the files, sorted.

    Raises:
        UserError: the folder cannot be read, holds a folder, has no image, or the first image
            cannot be read.
    """

    def __init__(self, root: str | Path, transform: Callable | None = None) -> None:
        self.root = Path(root)
        self.loader, self.transform = reader(root, transform)
        listing = list_flat_images(root)
        report_left_out(root, listing)
        self.images = [Path(path).name for path, _ in listing.samples]
        self.loader(str(self.root / self.images[0]))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The transformed image at a place, and -1 for its label."""
        image = self.loader(str(self.root / self.images[index]))
        return (image if self.transform is None else self.transform(image)), -1

    def __len__(self) -> int:
        return len(self.images)


@functools.cache
def with_index(dataset_class: type) -> type:
    """Makes a class of data sets whose items begin with their places: (index, image, label).

    Args:
        dataset_class: a class of data sets that can be pickled.

    Returns:
        A subclass; its data sets can be pickled too.
    """

    class WithIndex(dataset_class):
        def __getitem__(self, index: int) -> tuple:
            return (index, *super().__getitem__(index))

        def __reduce__(self) -> tuple:
            # pickle looks a class up by its name, which this one lacks: it is made anew
            return _restore, (dataset_class, self.__dict__)

    WithIndex.__name__ = WithIndex.__qualname__ = f"{dataset_class.__name__}WithIndex"
    return WithIndex


def _restore(dataset_class: type, state: dict[str, Any]) -> Any:
    dataset: Any = object.__new__(with_index(dataset_class))
    dataset.__dict__.update(state)
    return dataset
