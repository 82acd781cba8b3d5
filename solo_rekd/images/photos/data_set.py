"""Photos without labels as a data set, for both hosts."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from solo_rekd.images.decoded.reader import reader
from solo_rekd.images.photos.given import Photos, find_photos
from solo_rekd.utils.errors import UserError

TRIES = 50  # photos that are tried in the place of one
NAMED = 10  # photos that a process names at most
NOW, EARLIER = 1, 2  # when a photo could not be read: in this epoch, before

_log = logging.getLogger("solo_rekd")
_named: set[str] = set()


class UnlabelledPhotos(Dataset):
    """Photos without labels.

    An unreadable photo is reported and replaced by another: the same one in every epoch and
    process, so that what is known of an index before the training stays true.

    Args:
        given: see `find_photos`.
        transform: transform of each photo.

    Attributes:
        root: common folder of all photos.
        images: their paths relative to it.
        unreadable: shape (N,), uint8, in memory shared by all processes with a copy of the data
            set: the bits `NOW` and `EARLIER` of unreadable photos.

    Raises:
        UserError: the photos cannot be listed, or neither the first nor any of its replacements
            can be read.
    """

    def __init__(self, given: str | Path, transform: Callable | None = None) -> None:
        root, self.images = find_photos(given)
        self.root = Path(root)
        self.loader, self.transform = reader(given, transform, root)
        self.unreadable = torch.zeros(len(self.images), dtype=torch.uint8).share_memory_()
        # what is wrong with all images is wrong with the first: known before anything is written
        self._read(0)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        """The transformed photo at a place, and -1 for its label."""
        image = self._read(place)
        return (image if self.transform is None else self.transform(image)), -1

    def __len__(self) -> int:
        return len(self.images)

    def paths(self) -> list[str]:
        """The path of each photo."""
        return Photos(str(self.root), self.images).paths()

    def path(self, place: int) -> str:
        """The path of the photo at a place."""
        return os.path.join(self.root, self.images[place])

    def end_epoch(self) -> torch.Tensor:
        """The places of the photos that could not be read since the last call, shape (M,)."""
        places = (self.unreadable & NOW).nonzero().flatten()
        self.unreadable[places] = EARLIER
        return places

    def _read(self, place: int) -> Any:
        try:
            return self.loader(self.path(place))
        except UserError as error:
            return self._read_another(place, error)

    def _read_another(self, place: int, error: UserError) -> Any:
        others = random.Random(place).sample(range(len(self)), min(TRIES, len(self)))
        for other in others:
            try:
                image = self.loader(self.path(other))
            except UserError:
                continue
            self._report(place, error)
            return image
        raise UserError(
            f"{error}; none of {len(others)} other photos tried in its place can be read"
        ) from error

    def _report(self, place: int, error: UserError) -> None:
        known, path = int(self.unreadable[place]), self.path(place)
        self.unreadable[place] = known | NOW
        if not known and path not in _named and len(_named) < NAMED:
            _named.add(path)
            _log.warning("%s; another photo takes its place", error)
