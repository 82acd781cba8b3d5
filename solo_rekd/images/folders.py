"""Checks a pair of image folders before anything is trained or evaluated on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from solo_rekd.images.files import ENDINGS, has_images, list_classes
from solo_rekd.images.photos.index import is_index
from solo_rekd.utils.errors import UserError, refuse


def refuse_other_classes(train: Sequence[str], val: Sequence[str], names: tuple[str, str]) -> None:
    """Refuses image folders with different classes.

    Args:
        train: classes of the training images, in the order of their labels.
        val: classes of the validation images, in the order of their labels.
        names: names of both folders, for the message.

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


def refuse_one_class(key: str, path: str | Path) -> None:
    """Raises a UserError where the images are of one class: every network has 100 percent there.

    Args:
        key: name of the setting.
        path: the folder of class folders.
    """
    classes = list_classes(path)
    if len(classes) < 2:
        raise refuse(key, str(path), f"two classes or more, of which it has {len(classes)}")


def refuse_folders(paths: Mapping[str, str | None]) -> None:
    """Checks the classes of the training and validation folder, where both are folders.

    Args:
        paths: paths of the training and validation images, by the name of the setting.

    Raises:
        UserError: one has no class folders or a class without images, or their classes differ.
    """
    classes = {}
    for key, path in paths.items():
        if path is not None and Path(path).is_dir():
            if is_index(path):
                limit = "a folder of class folders; this is an index of photos without labels"
                raise refuse(key, str(path), limit)
            classes[key] = list_classes(path)
            if not classes[key]:
                raise refuse(key, str(path), "a folder of class folders")
            refuse_empty_classes(key, path, classes[key])
    if len(classes) == 2:
        (first, train), (second, val) = classes.items()
        refuse_other_classes(train, val, (first, second))
