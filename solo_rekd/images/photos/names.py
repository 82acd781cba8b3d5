"""Any number of names in one memory-mapped file.

The file holds the end of each name as 64-bit numbers, and then the bytes of all names. A million
names of 50 bytes take 58 MB, which all processes share.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

ENDS = np.dtype("<i8")


class Names(Sequence[str]):
    """Names in a file that holds the result of `to_bytes`.

    Args:
        path: the file.
        number: how many names it holds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold that number of names.
    """

    def __init__(self, path: Path, number: int) -> None:
        # a plain array: numpy's class for files is slow to index
        content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        start = number * ENDS.itemsize
        if start > len(content):
            raise ValueError(f"{path} is too short for {number} names")
        self._ends, self._text = content[:start].view(ENDS), content[start:]
        if number and self._ends[-1] != len(self._text):
            raise ValueError(f"{path} does not end with its last name")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """The name at a place, or the list of those in a part."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]  # counts from the end too, and raises beyond it
        start = self._ends[place - 1] if place else 0
        return os.fsdecode(self._text[start : self._ends[place]].tobytes())

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield os.fsdecode(self._text[start:end].tobytes())
            start = end


def to_bytes(names: Sequence[str]) -> bytes:
    """The content of a file of names."""
    encoded = [os.fsencode(name) for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=ENDS)
    return ends.tobytes() + b"".join(encoded)
