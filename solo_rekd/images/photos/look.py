"""Checks a photo before training, by its header or only by its file.

A header shows a damaged start, an unknown format, unusable pixels, and a size beyond Pillow's
limit, in a tenth of a millisecond. Decoding a photo of 12 million pixels takes a thousand times as
long, and training does it anyway: damage further on is found then.
"""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from solo_rekd.images.files import by_kind
from solo_rekd.images.read import of_content, opened
from solo_rekd.utils.errors import UserError, one_line

MISSING, EMPTY, UNREADABLE, UNDECODABLE = "missing", "empty", "unreadable", "undecodable"
UNUSABLE = "of unusable pixels"
NAMED = 3  # photos that a line names


class Problem(NamedTuple):
    """Why a photo is left out: the kind of reason, and the reason itself."""

    kind: str
    reason: str


class Look(NamedTuple):
    """The result of checking a photo.

    Attributes:
        device: device of the file; 0 if it cannot be read.
        inode: its inode there; both together identify a file, whatever links to it.
        problem: why it is left out; None: it is not.
    """

    device: int
    inode: int
    problem: Problem | None


def look_at(path: str, headers: bool) -> Look:
    """Checks a photo.

    Args:
        path: the file.
        headers: whether to read its header; otherwise only its existence is checked.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = getattr(error, "strerror", None) or str(error)
        return Look(0, 0, Problem(MISSING if gone else UNREADABLE, reason))
    problem = None
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its other end
        problem = Problem(UNREADABLE, "not a regular file")
    elif headers:
        problem = Problem(EMPTY, "an empty file") if status.st_size == 0 else _read_header(path)
    return Look(status.st_dev, status.st_ino, problem)


def describe(number: int, left_out: Sequence[tuple[str, Problem]]) -> str:
    """Writes in one line how many photos are left out, by kind, and names the first of them.

    Args:
        number: number of all photos.
        left_out: path of each, with the reason.
    """
    kinds = by_kind(Counter(problem.kind for _, problem in left_out))
    named = ", ".join(f"{path} ({problem.reason})" for path, problem in left_out[:NAMED])
    more = " and others" if len(left_out) > NAMED else ""
    return one_line(f"{len(left_out)} of {number} photos are left out ({kinds}): {named}{more}")


def _read_header(path: str) -> Problem | None:
    try:
        with opened(path):
            return None
    except UserError as error:
        # the path stands in a column of its own
        reason = str(error).removeprefix(one_line(f"{path} "))
        if of_content(error):
            return Problem(UNDECODABLE, reason)
        return Problem(UNUSABLE if error.__cause__ is None else UNREADABLE, reason)
