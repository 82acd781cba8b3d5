"""Which bytes are an image's: a table of one row for each image, sorted, to be mapped into memory.

A row has four numbers of 64 bits: two of a hash of the image's name, the place of its first byte,
and its height and width, of 32 bits each. A million rows are 32 MB, of which a look-up reads a few
pages, and which all processes share.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

COLUMNS = 4
HALF = 32  # bits of a height or a width


class Place(NamedTuple):
    """Where the pixels of an image lie: place of the first byte, and height and width in px."""

    offset: int
    height: int
    width: int


def make_index(names: Sequence[str], places: Sequence[Place]) -> np.ndarray:
    """Makes the table, shape (N, 4), of uint64.

    Args:
        names: of the images, each once.
        places: of their pixels.
    """
    index = np.empty((len(names), COLUMNS), np.uint64)
    for row, name, place in zip(index, names, places, strict=True):
        row[:] = *_hash(name), place.offset, place.height << HALF | place.width
    return index[np.lexsort((index[:, 1], index[:, 0]))]


def find(index: np.ndarray, name: str) -> Place | None:
    """Finds an image; None where it is not in the table.

    Args:
        index: the table.
        name: of the image.
    """
    first, second = _hash(name)
    row = int(index[:, 0].searchsorted(np.uint64(first)))
    while row < len(index) and index[row, 0] == first:
        if index[row, 1] == second:
            offset, sides = (int(number) for number in index[row, 2:])
            return Place(offset, sides >> HALF, sides & ((1 << HALF) - 1))
        row += 1
    return None


def _hash(name: str) -> tuple[int, int]:
    digest = blake2b(os.fsencode(name), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
