"""Which files of a folder are its images, by one rule for every loader.

An image ends as one of `ENDINGS`. Hidden files and folders, whose names start with a dot, hold
previews and copies that programs leave behind: they are neither images nor classes. What is left
out is counted and reported.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torchvision.datasets.folder import IMG_EXTENSIONS as ENDINGS

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import reading

HIDDEN, OUTSIDE, LOOP = "hidden", "outside the class folders", "links back to a folder above"
KINDS = 6  # of files left out, named in a line at most

# where a launcher writes the number of a process, before torch knows of the others
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")

_log = logging.getLogger("solo_rekd")
_reported: set[str] = set()


class Listing(NamedTuple):
    """The images of a folder.

    Attributes:
        samples: path and label of each image, in torchvision's order; the label is the place of
            the class among the classes, or -1 without labels.
        left_out: how many entries of the folder are no images, by kind.
    """

    samples: list[tuple[str, int]]
    left_out: Counter[str]


def list_classes(root: str | Path) -> list[str]:
    """Lists the class folders, sorted: all folders of `root` but hidden ones.

    Raises:
        UserError: `root` cannot be read.
    """
    with reading(root), os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def list_class_images(root: str | Path, classes: Sequence[str] | None = None) -> Listing:
    """Lists the images in the class folders of `root`, at any depth.

    A link to a folder that it lies in is not followed: its images would be listed again and again.

    Args:
        root: the folder of class folders.
        classes: names of the class folders, in the order of their labels; None: `list_classes`.

    Raises:
        UserError: a folder cannot be read, there is no class, or a class has no image.
    """
    root = str(root)
    classes = list_classes(root) if classes is None else classes
    if not classes:
        raise UserError(f"{root} has no class folders: give one folder of images for each class")
    samples: list[tuple[str, int]] = []
    left_out: Counter[str] = Counter()
    with reading(root), os.scandir(root) as entries:
        for entry in entries:
            if _hidden(entry.name):
                left_out[HIDDEN] += 1
            elif not entry.is_dir():
                left_out[OUTSIDE] += 1
    empty = []
    for label, name in enumerate(classes):
        paths = _walk(os.path.join(root, name), left_out)
        samples.extend((path, label) for path in paths)
        if not paths:
            empty.append(name)
    if empty:
        named = ", ".join(empty[:KINDS]) + (" and others" if empty[KINDS:] else "")
        raise UserError(f"{root} has no image in the class folders {named}: {_readable()}")
    return Listing(samples, left_out)


def has_images(folder: str | Path) -> bool:
    """Whether a class folder holds an image, at any depth; it stops at the first.

    Raises:
        UserError: a folder cannot be read.
    """
    return any(names for _, names in _visit(str(folder), Counter()))


def list_flat_images(root: str | Path) -> Listing:
    """Lists the images that lie directly in `root`, sorted, without labels.

    Raises:
        UserError: `root` cannot be read, holds a folder, or holds no image.
    """
    samples: list[tuple[str, int]] = []
    left_out: Counter[str] = Counter()
    with reading(root):
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    for entry in entries:
        kind = _kind(entry.name)
        if kind != HIDDEN and entry.is_dir():
            raise UserError(f"{entry.path} is a folder: without labels, give one of images alone")
        if kind:
            left_out[kind] += 1
        else:
            samples.append((entry.path, -1))
    if not samples:
        raise UserError(f"{root} has no image: {_readable()}")
    return Listing(samples, left_out)


def report_left_out(root: str | Path, listing: Listing) -> None:
    """Warns of what is left out in a folder, in one line, once in a run.

    Args:
        root: the folder.
        listing: what was found there.
    """
    number = sum(listing.left_out.values())
    folder = os.path.realpath(root)
    # every process of a distributed run lists the images
    other = any(os.environ.get(name, "0") != "0" for name in RANKS)
    if not number or folder in _reported or other:
        return
    _reported.add(folder)
    kinds = [f"{count} {kind}" for kind, count in listing.left_out.most_common(KINDS)]
    more = " and others" if len(listing.left_out) > KINDS else ""
    _log.warning(
        "%s: %d of %d files are left out (%s%s). %s: convert or remove the others",
        *(root, number, number + len(listing.samples), ", ".join(kinds), more, _readable()),
    )


def _walk(folder: str, left_out: Counter[str]) -> list[str]:
    """Lists the images under a class folder in torchvision's order, and counts what is left out."""
    found = sorted(_visit(folder, left_out))
    return [os.path.join(place, name) for place, names in found for name in names]


def _visit(folder: str, left_out: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Goes through a class folder: each folder in it, and the sorted names of its images."""
    with reading(folder):
        # the folders around each folder to visit
        above = {folder: frozenset(map(_identity, Path(folder).resolve().parents))}
        for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
            around = above.pop(place) | {_identity(place)}
            followed = []
            for name in folders:
                path = os.path.join(place, name)
                if _hidden(name):
                    left_out[HIDDEN] += 1
                elif _identity(path) in around:
                    left_out[LOOP] += 1
                else:
                    above[path] = around
                    followed.append(name)
            folders[:] = followed
            kinds = [(name, _kind(name)) for name in files]
            left_out.update(kind for _, kind in kinds if kind)
            yield place, sorted(name for name, kind in kinds if not kind)


def _identity(folder: str | Path) -> tuple[int, int]:
    """What a folder is known by, whatever links lead to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _kind(name: str) -> str | None:
    """Says what a file that is no image counts as; None for an image."""
    if _hidden(name):
        return HIDDEN
    if name.lower().endswith(ENDINGS):
        return None
    return os.path.splitext(name)[1].lower() or "without an ending"


def _readable() -> str:
    return f"Files that end in {', '.join(ENDINGS)} are read"
