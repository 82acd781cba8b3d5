"""A file read from front to back, never beyond its end, whatever length it says of its parts."""

import os
from typing import IO, Any

import numpy as np
import torch

LONGEST_LINE = 2**16  # bytes; those of a checkpoint are names


class Source:
    """Reads as a file does, but allocates no more than the file has.

    Args:
        file: stands where the reading begins.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        file.seek(self._start)

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return max(0, self._end - self._file.tell())

    def tell(self) -> int:
        """How many bytes of the file lie before the next."""
        return self._file.tell()

    def read(self, size: int) -> bytes:
        """Reads `size` bytes, or those that are left."""
        return self._file.read(min(size, self.left))

    def readline(self) -> bytes:
        """Reads to the end of the line; of one that is too long only a part."""
        return self._file.readline(LONGEST_LINE)


def fill(storage: torch.UntypedStorage, file: IO[bytes]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Reads the bytes of a storage.

    Args:
        storage: of as many bytes as are to be read.
        file: stands at the first of them.

    Returns:
        Those that were there: fewer at the end of the file.
    """
    content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    return content[: file.readinto(content.data) if len(content) else 0]  # type: ignore[attr-defined]
