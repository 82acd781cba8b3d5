"""What a user gives as photos, a folder, several, or a list in a text file, as paths."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from solo_rekd.images.files import is_image, list_images
from solo_rekd.images.photos.index import PhotoIndex, is_index
from solo_rekd.images.threads import in_threads
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.files import reading

LIST = ".txt"  # ends the name of a text file of paths
COMMENT = "#"
BY_BYTE_ORDER_MARK = "utf-8-sig"  # with or without the mark that Windows puts first


class Found(NamedTuple):
    """What a user's sources hold.

    Attributes:
        root: the folder that all of them lie in.
        paths: of the photos, in the order of the sources.
        left_out: how many files of the folders are no photos, by kind.
    """

    root: str
    paths: list[str]
    left_out: Counter[str]


def list_sources(sources: Sequence[str | Path]) -> Found:
    """Lists the photos of a user's sources.

    What lies in a folder is a photo by the ending of its name, see `images/files.py`. A file that
    is named by itself, as a source or in a list, is taken whatever its ending is, and whether or
    not it is there: it is looked at later.

    Args:
        sources: folders, at any depth of which photos lie; indexes of photos; photos; and text
            files whose names end in .txt, with the path of a photo or of a folder in each line. A
            path that is not absolute begins at the folder of its list; blank lines and lines that
            begin with `#` are passed over.

    Raises:
        UserError: a source is none of these, or cannot be read.
    """
    places: list[str] = []  # folders that the photos lie in
    paths: list[str] = []
    left_out: Counter[str] = Counter()
    for source in sources:
        given = os.path.abspath(source)
        with reading(source):
            is_folder = stat.S_ISDIR(os.stat(given).st_mode)
        if is_folder and is_index(given):
            index = PhotoIndex(given)
            places.append(index.root)
            paths += index
        elif is_folder:
            places.append(given)
            paths += list_images(given, left_out)
        elif given.lower().endswith(LIST):
            listed = read_list(given)
            for path, folder in zip(listed, in_threads(os.path.isdir, listed), strict=True):
                places.append(path if folder else os.path.dirname(path))
                paths += list_images(path, left_out) if folder else [path]
        elif is_image(os.path.basename(given)):
            places.append(os.path.dirname(given))
            paths.append(given)
        else:
            raise refuse("photos", str(source), f"a folder, a photo, or a {LIST} file of paths")
    return Found(common_folder(places), paths, left_out)


def read_list(path: str) -> list[str]:
    """Reads the paths in a text file, absolute: see `list_sources`.

    Raises:
        UserError: the file cannot be read, or names nothing.
    """
    folder = os.path.dirname(os.path.abspath(path))
    with (
        reading(path),
        open(path, encoding=BY_BYTE_ORDER_MARK, errors="surrogateescape") as file,
    ):
        lines = [line.strip() for line in file]
    named = [line for line in lines if line and not line.startswith(COMMENT)]
    if not named:
        raise UserError(f"{path} names no photo: give one path in each line")
    return [os.path.join(folder, line) for line in named]


def common_folder(folders: Sequence[str]) -> str:
    """The innermost folder that all of these, one at least, lie in or are."""
    # what lies between two others in the order of the alphabet begins as both do
    marked = [folder.rstrip(os.sep) + os.sep for folder in folders]
    return os.path.commonpath([min(marked), max(marked)])
