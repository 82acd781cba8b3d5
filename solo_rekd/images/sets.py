"""Data sets of images, for both hosts: their classes, orders and results are torchvision's.

They read as `read.load_rgb` reads, list as `files` lists, and can be pickled, so that the
worker processes of a loader may be spawned.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder

from solo_rekd.images.decoded.reader import reader
from solo_rekd.images.files import BROKEN, list_class_images, list_classes, report_left_out


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
        listing.left_out.pop(BROKEN, None)  # which have a line of their own
        report_left_out(directory, len(listing.samples), listing.left_out)
        return listing.samples


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
