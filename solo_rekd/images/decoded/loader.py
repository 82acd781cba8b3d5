"""Reads decoded images instead of files."""

import fcntl
import logging
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from solo_rekd.images.decoded.index import COLUMNS, find
from solo_rekd.images.fingerprint import relative_names
from solo_rekd.images.read import load_rgb

PIXELS, INDEX = "pixels.bin", "index.npy"

_log = logging.getLogger("solo_rekd")


class DecodedImages:
    """Reads images from a folder that `cache.find_or_decode` wrote.

    A missing image is decoded. A copy in another process, even a spawned one, memory-maps the same
    files; while any does, the folder is not removed to make room.

    Args:
        folder: folder of the decoded images.
        root: folder of the original images, as their paths begin.
        tensors: whether to return an image as a tensor on the mapped bytes, without a copy.
    """

    def __init__(self, folder: str | Path, root: str | Path, tensors: bool = False) -> None:
        self.folder, self.root, self.tensors = Path(folder), str(root), tensors
        try:
            held = (self.folder / INDEX).open("rb")
            weakref.finalize(self, held.close)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(held, fcntl.LOCK_SH)
            # plain arrays: those of numpy's class for files are slow to index
            self.index = np.asarray(np.load(self.folder / INDEX, mmap_mode="r"))
            # copied where it is written to: torch takes no array that is read-only
            self.pixels = np.asarray(np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="c"))
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be read, so images are decoded again: %s", self.folder, error)
            self.index = np.empty((0, COLUMNS), np.uint64)

    def __call__(self, path: str) -> Image.Image | torch.Tensor:
        """Reads an image.

        Args:
            path: of the image, which lies in `root`.

        Returns:
            The picture, mode RGB; with `tensors`, where it was decoded before, shape (3, H, W),
            uint8.
        """
        (name,) = relative_names((path,), self.root)
        place = find(self.index, name)
        if place is None:
            return load_rgb(path)
        offset, height, width = place
        block = self.pixels[offset : offset + 3 * height * width]
        if self.tensors:
            return torch.from_numpy(block).view(height, width, 3).permute(2, 0, 1)
        return Image.frombytes("RGB", (width, height), block)

    def __reduce__(self) -> tuple:
        return DecodedImages, (self.folder, self.root, self.tensors)
