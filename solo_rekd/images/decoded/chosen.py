"""The folders whose images a run reads decoded, in all of its processes."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from solo_rekd.images.decoded.cache import facts_of, find_or_decode
from solo_rekd.images.decoded.flags import AUTO, OFF, TRANSFORMS, V2
from solo_rekd.images.files import list_class_images
from solo_rekd.images.photos.given import find_photos
from solo_rekd.utils.errors import UserError, refuse

LARGE = 320 * 320  # px of an image, on average, from which v2 is taken: see docs/loading.md

# for every process that this one starts, by whatever launcher
VARIABLE = "SOLO_REKD_DECODED_IMAGES"


class Chosen(NamedTuple):
    """How a folder of images is read.

    Attributes:
        folder: folder of the decoded images.
        tensors: whether v2 resizes them as tensors.
    """

    folder: str
    tensors: bool


def prepare(
    images: Mapping[str, Sequence[str]], where: str, transforms: str = AUTO
) -> dict[str, Chosen]:
    """Decodes images if there is room, and returns how to read them.

    Args:
        images: paths of the images in each folder.
        where: `off`; `auto`, the user's cache folder; or a folder for decoded images.
        transforms: what resizes them: `host`, `v2`, or `auto`, v2 for large images.

    Raises:
        UserError: see `find_or_decode`; or `v2` is asked for and nothing is to be decoded.
    """
    refuse_choice(where, transforms)
    if where == OFF:
        return {}
    found = {root: _decode(paths, root, where, transforms) for root, paths in images.items()}
    return {root: each for root, each in found.items() if each is not None}


def refuse_choice(where: str, transforms: str) -> None:
    """Raises a UserError where `transforms` is unknown, or `v2` and nothing is to be decoded."""
    if transforms not in TRANSFORMS:
        raise refuse("transforms", transforms, TRANSFORMS)
    if where == OFF and transforms == V2:
        raise UserError(
            "transforms='v2' needs decoded images: give decoded_images=auto, or a folder"
        )


def _decode(
    paths: Sequence[str], root: str, where: str, transforms: str, *, skip: bool = False
) -> Chosen | None:
    folder = find_or_decode(paths, root, None if where == AUTO else where, skip=skip)
    if folder is None:
        return None
    large = facts_of(folder)["bytes"] >= 3 * LARGE * len(paths)
    return Chosen(str(folder), transforms == V2 or (transforms == AUTO and large))


def prepare_folders(
    folders: Sequence[str | None], labelled: bool, where: str, transforms: str
) -> None:
    """Runs `prepare` on image folders, and chooses the result.

    Args:
        folders: folders of training and validation images; None: there are none.
        labelled: whether the first has class folders; all others have. Without labels it may be
            anything that `find_photos` accepts, and unreadable photos are skipped.
        where: see `prepare`.
        transforms: see `prepare`.

    Raises:
        UserError: see `prepare`.
    """
    refuse_choice(where, transforms)
    found = {}
    for place, folder in enumerate(folders if where != OFF else ()):
        # of several processes of a training the first has done it
        if folder is None or not Path(folder).exists() or chosen(folder) is not None:
            continue
        if place == 0 and not labelled:
            root, _ = photos = find_photos(folder)
            found[folder] = _decode(photos.paths(), root, where, transforms, skip=True)
        elif Path(folder).is_dir():
            paths = [path for path, _ in list_class_images(folder).samples]
            found[folder] = _decode(paths, folder, where, transforms)
    choose({folder: each for folder, each in found.items() if each is not None})


def choose(found: Mapping[str, Chosen]) -> None:
    """Makes the data sets of this process, and of those that it starts, read decoded images.

    Args:
        found: how to read the images, by folder.
    """
    told = {os.path.realpath(root): each for root, each in found.items()}
    if told:
        os.environ[VARIABLE] = json.dumps(_read() | told)


def chosen(root: str | Path) -> Chosen | None:
    """Returns how to read the images of a folder; None: as files."""
    told = _read().get(os.path.realpath(root))
    return None if told is None else Chosen(*told)


def _read() -> dict[str, list]:
    return json.loads(os.environ.get(VARIABLE, "{}"))
