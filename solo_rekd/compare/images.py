"""Lists the images of a comparison, and checks that they are fit for one."""

from dataclasses import dataclass
from pathlib import Path

from solo_rekd.images.broken import skips_broken
from solo_rekd.images.data_sets import LARGE_IMAGE, SMALL_IMAGE
from solo_rekd.images.files import BROKEN, list_class_images
from solo_rekd.images.fingerprint import fingerprint_files
from solo_rekd.images.folders import refuse_other_classes
from solo_rekd.images.read import opened
from solo_rekd.images.sets import ClassFolders
from solo_rekd.utils.errors import UserError


@dataclass(frozen=True)
class Images:
    """The images of a comparison.

    Attributes:
        classes: names of the classes, in the order of their labels.
        train: paths of the training images.
        val: paths of the validation images.
        broken: how many are left out of both, see `images.broken`.
    """

    classes: list[str]
    train: list[str]
    val: list[str]
    broken: int = 0


def find_images(data: Path, train_dir: str, val_dir: str) -> Images:
    """Lists the images as the host finds them.

    Args:
        data: folder of both sets.
        train_dir: its folder of training images, in folders named after their classes.
        val_dir: its folder of validation images, in folders named after their classes.

    Raises:
        UserError: a folder is missing, a class has no image, the classes differ, or there is only
            one.
    """
    if not data.is_dir():
        raise UserError(f"--data {data} is not a folder")
    splits = []
    for name in (train_dir, val_dir):
        splits.append(ClassFolders(data / name))
    train, val = splits
    refuse_other_classes(train.classes, val.classes, (train_dir, val_dir))
    if len(train.classes) < 2:
        raise UserError(f"{data / train_dir} has only one class: an evaluation needs two or more")
    paths = [[path for path, _ in split.samples] for split in splits]
    broken = 0
    if skips_broken():
        folders = (data / name for name in (train_dir, val_dir))
        broken = sum(list_class_images(folder).left_out[BROKEN] for folder in folders)
    return Images(train.classes, paths[0], paths[1], broken)


def fingerprint(images: Images, root: Path) -> str:
    """Returns the number of images and a digest of their names, content and order.

    Args:
        images: the images.
        root: folder that the names are relative to.

    Raises:
        UserError: an image cannot be read.
    """
    digest = fingerprint_files([*images.train, *images.val], root)
    return f"{len(images.train)} + {len(images.val)}, sha256 {digest[:12]}"


def default_crop_size(path: str) -> int:
    """Returns the side of a small image, or the default crop for a large one, in px.

    Args:
        path: the image.

    Raises:
        UserError: the image cannot be read.
    """
    with opened(path) as image:
        side = max(image.size)
    return side if side <= SMALL_IMAGE else LARGE_IMAGE
