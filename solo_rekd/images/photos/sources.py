"""Turns the photos that a user gives, as folders or lists in text files, into paths."""

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
        root: common folder of all photos.
        paths: paths of the photos, in the order of the sources.
        left_out: number of files in the folders that are not photos, by kind.
    """

    root: str
    paths: list[str]
    left_out: Counter[str]


def list_sources(sources: Sequence[str | Path]) -> Found:
    """Lists the photos of a user's sources.

    In a folder, the ending of a file's name makes it a photo, see `images/files.py`. A file that is
    named itself, as a source or in a list, is accepted whatever its ending, and whether or not it
    exists: it is checked later.

    Args:
        sources: folders with photos at any depth; indexes of photos; photos; and text files whose
            names end in .txt, with the path of one photo or folder per line. A relative path begins
            at the folder of its list; blank lines and lines that begin with `#` are skipped.

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
        raise UserError(f"{path} names no photo: give one path per line")
    return [os.path.join(folder, line) for line in named]


def common_folder(folders: Sequence[str]) -> str:
    """Returns the innermost common folder of these folders, at least one."""
    # in alphabetical order, everything between two names shares their common beginning
    marked = [folder.rstrip(os.sep) + os.sep for folder in folders]
    return os.path.commonpath([min(marked), max(marked)])
