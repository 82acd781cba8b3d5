"""A file's bytes in memory, read from front to back, never beyond their end."""

from typing import Any

import numpy as np
import torch

LINE = 4096  # bytes that are searched at once for the end of a line
LONGEST_LINE = 2**16  # bytes; those of a checkpoint are names


class Source:
    """Reads bytes as a file does.

    Args:
        content: the bytes, as uint8.
    """

    def __init__(self, content: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._content = content
        self._place = 0

    def __len__(self) -> int:
        return len(self._content)

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self._content) - self._place

    def tell(self) -> int:
        """How many bytes have been read."""
        return self._place

    def read(self, size: int) -> bytes:
        """Reads `size` bytes, or those that are left."""
        return self.take(min(size, self.left)).tobytes()

    def readline(self) -> bytes:
        """Reads to the end of the line; of one that is too long only a part."""
        line = b""
        while not line.endswith(b"\n") and self.left and len(line) < LONGEST_LINE:
            start = self._place
            part = self.read(LINE)
            end = part.find(b"\n") + 1
            if end:
                self._place = start + end
            line += part[: end or None]
        return line

    def take(self, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The next `size` bytes themselves, not copied; fewer where fewer are left."""
        taken = self._content[self._place : self._place + size]
        self._place += len(taken)
        return taken


def as_storage(content: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.UntypedStorage:
    """The bytes as a storage: themselves where they lie as torch wants them, else a copy."""
    if len(content) == 0:
        return torch.UntypedStorage(0)
    # the largest element has 16 bytes
    aligned = content if content.ctypes.data % 16 == 0 else content.copy()
    return torch.frombuffer(aligned, dtype=torch.uint8).untyped_storage()
