"""Writes an index of the photos that a user gives, and reports what is left out and why."""

import csv
import logging
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from solo_rekd.images.files import refuse_no_image, report_left_out
from solo_rekd.images.fingerprint import relative_names
from solo_rekd.images.photos.index import LEFT_OUT, PhotoIndex, write_index
from solo_rekd.images.photos.look import Look, Problem, describe, look_at
from solo_rekd.images.photos.sources import list_sources
from solo_rekd.images.threads import in_threads
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import replacing

DUPLICATE = "listed already"

_log = logging.getLogger("solo_rekd")


def build_index(
    sources: Sequence[str | Path], folder: str | Path, *, headers: bool = True
) -> PhotoIndex:
    """Finds photos, leaves out those that cannot be read, and writes an index of the others.

    The index is always rebuilt, because nothing cheaper than listing the photos shows whether a
    folder has changed. `left_out.csv` beside it gives the reason for each photo that is left out.

    Args:
        sources: sources of the photos, see `list_sources`.
        folder: folder of the index; it may hold other files.
        headers: whether to read the header of each photo, and leave out those without a valid one.

    Returns:
        The index: each file once, in the order of the sources.

    Raises:
        UserError: no photo can be read, a source is invalid, or the folder cannot be written to.
    """
    folder = Path(folder)
    given = [os.path.abspath(source) for source in sources]
    found = list_sources(given)
    named = ", ".join(map(str, sources))
    report_left_out(named, len(found.paths), found.left_out)
    if not found.paths:
        raise refuse_no_image(named)
    looks = in_threads(partial(look_at, headers=headers), found.paths, "looking at the photos")
    problems = [look.problem for look in looks]
    for place, first in duplicates(looks):
        problems[place] = Problem(DUPLICATE, f"the same file as {found.paths[first]}")
    left_out = [
        (path, problem)
        for path, problem in zip(found.paths, problems, strict=True)
        if problem is not None
    ]
    kept = [path for path, problem in zip(found.paths, problems, strict=True) if problem is None]
    line = describe(len(found.paths), left_out)
    if not kept:
        raise UserError(f"{named} has no photo that can be read: {line}")
    names = relative_names(kept, found.root)
    counts = found.left_out + Counter(problem.kind for _, problem in left_out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_left_out(folder / LEFT_OUT, left_out)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot hold an index of photos: {reason}") from error
    index = write_index(folder, found.root, names, given, counts, {"headers": headers})
    if left_out:
        _log.warning("%s; all of them: %s", line, folder / LEFT_OUT)
    return index


def duplicates(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Finds files that are listed more than once, by whatever links or sources.

    Args:
        looks: at each photo; those with a problem are passed over.

    Returns:
        The place of each repetition, and the place where its file is listed first.
    """
    places = np.array([place for place, look in enumerate(looks) if look.problem is None], int)
    devices = np.array([looks[place].device for place in places], np.uint64)
    inodes = np.array([looks[place].inode for place in places], np.uint64)
    order = np.lexsort((inodes, devices))  # stable: of the same file, the first listing is first
    places, devices, inodes = places[order], devices[order], inodes[order]
    repeated = np.zeros(len(places), bool)
    repeated[1:] = (devices[1:] == devices[:-1]) & (inodes[1:] == inodes[:-1])
    first = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(places))))
    found = np.flatnonzero(repeated)
    return [(int(places[each]), int(places[first[each]])) for each in found]


def write_left_out(path: Path, left_out: Sequence[tuple[str, Problem]]) -> None:
    """Writes which photos are left out and why: a line of `path,reason` for each."""
    with (
        replacing(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("path", "reason"))
        writer.writerows((photo, problem.reason) for photo, problem in left_out)
