"""The rule by which every loader decides which files of a folder are images.

An image has one of `ENDINGS`. Hidden files and folders, whose names start with a dot, hold previews
and copies that programs leave behind: they are neither images nor classes. Files that are left out
are counted and reported.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torchvision.datasets.folder import IMG_EXTENSIONS as ENDINGS

from solo_rekd.images.broken import describe, find_broken, skips_broken
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import reading

HIDDEN, OUTSIDE, LOOP = "hidden", "outside the class folders", "links back to a folder above"
DANGLING, BROKEN = "links to nothing", "broken"
KINDS = 6  # of files left out, named in a line at most

# where a launcher writes the number of a process, before torch knows of the others
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")

_log = logging.getLogger("solo_rekd")
_reported: set[tuple[str, str]] = set()


class Listing(NamedTuple):
    """The images of a folder.

    Attributes:
        samples: path and label of each image, in torchvision's order; the label is the index of
            the class, or -1 without labels.
        left_out: number of entries of the folder that are not images, by kind.
    """

    samples: list[tuple[str, int]]
    left_out: Counter[str]


def list_classes(root: str | Path) -> list[str]:
    """Lists the class folders, sorted: all folders of `root` except hidden ones.

    Raises:
        UserError: `root` cannot be read.
    """
    with reading(root), os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def list_class_images(root: str | Path, classes: Sequence[str] | None = None) -> Listing:
    """Lists the images in the class folders of `root`, at any depth.

    Images that cannot be decoded are left out and named if `broken.skips_broken`. A link to a
    parent folder is not followed, because its images would be listed endlessly.

    Args:
        root: folder of the class folders.
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
    if skips_broken():
        samples = _whole(root, classes, samples, left_out)
    return Listing(samples, left_out)


def _whole(
    root: str, classes: Sequence[str], samples: list[tuple[str, int]], left_out: Counter[str]
) -> list[tuple[str, int]]:
    """The images of class folders that can be decoded; the others are counted and named."""
    broken = find_broken([path for path, _ in samples], root)
    if not broken:
        return samples
    whole = [sample for sample in samples if sample[0] not in broken]
    if lost := sorted({label for _, label in samples} - {label for _, label in whole}):
        named = ", ".join(classes[label] for label in lost[:KINDS])
        first = next(iter(broken.items()))
        raise UserError(
            f"{root}: every image of the class folders {named} is broken, such as {first[0]} "
            f"({first[1]})"
        )
    left_out[BROKEN] += len(broken)
    report_once(root, describe(len(samples), broken))
    return whole


def has_images(folder: str | Path) -> bool:
    """Whether a class folder holds an image, at any depth; it stops at the first.

    Raises:
        UserError: a folder cannot be read.
    """
    return any(names for _, names in _visit(str(folder), Counter()))


def list_images(root: str | Path, left_out: Counter[str]) -> list[str]:
    """Lists the images of a folder, at any depth and without labels.

    Args:
        root: the folder.
        left_out: counts what is not an image, by kind.

    Returns:
        Their paths, folder by folder, with each folder's names sorted; without subfolders, simply
        sorted by name.

    Raises:
        UserError: a folder cannot be read.
    """
    found = []
    for path in _walk(str(root), left_out):
        if os.path.islink(path) and not os.path.exists(path):
            left_out[DANGLING] += 1
        else:
            found.append(path)
    return found


def refuse_no_image(root: str | Path) -> UserError:
    """Builds the error for a place without any image."""
    return UserError(f"{root} has no image: {_readable()}")


def report_left_out(root: str | Path, kept: int, left_out: Counter[str]) -> None:
    """Warns of files that are left out in a folder, in one line, once per run.

    Args:
        root: the folder.
        kept: number of images found there.
        left_out: number of other files, by kind.
    """
    if number := sum(left_out.values()):
        said = f"{number} of {number + kept} files are left out ({by_kind(left_out)})"
        report_once(root, f"{said}. {_readable()}: convert or remove the others")


def report_once(place: str | Path, line: str) -> None:
    """Warns about a folder or a file, once per run.

    Args:
        place: the folder or the file.
        line: the warning.
    """
    said = os.path.realpath(place), line
    # every process of a distributed run lists the images
    other = any(os.environ.get(name, "0") != "0" for name in RANKS)
    if said not in _reported and not other:
        _reported.add(said)
        _log.warning("%s: %s", place, line)


def by_kind(left_out: Counter[str]) -> str:
    """Writes the numbers of files left out, the most frequent kinds first."""
    kinds = [f"{count} {kind}" for kind, count in left_out.most_common(KINDS)]
    return ", ".join(kinds) + (" and others" if len(left_out) > KINDS else "")


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return _kind(name) is None


def _walk(folder: str, left_out: Counter[str]) -> list[str]:
    """Lists the images under a folder in torchvision's order, and counts what is left out."""
    found = sorted(_visit(folder, left_out))
    return [os.path.join(place, name) for place, names in found for name in names]


def _visit(folder: str, left_out: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Walks through a folder: each folder in it, and the sorted names of its images."""
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
    """Returns what identifies a folder, whatever links lead to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _kind(name: str) -> str | None:
    """Returns the kind of a file that is not an image; None for an image."""
    if _hidden(name):
        return HIDDEN
    if name.lower().endswith(ENDINGS):
        return None
    return os.path.splitext(name)[1].lower() or "without an ending"


def _readable() -> str:
    return f"Files that end in {', '.join(ENDINGS)} are read"
