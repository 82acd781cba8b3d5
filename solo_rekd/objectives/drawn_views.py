"""Augmented views that are drawn once, and what a frozen teacher says of each of them.

A frozen teacher then runs once for a data set, and not at every step of every run, as in fast
knowledge distillation (arXiv 2112.01528). There the teacher's answers are kept beside the
parameters of the crops; here the pixels are kept too, so that a step neither decodes nor augments.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import functional as transforms

from solo_rekd.objectives import teacher_cache
from solo_rekd.objectives.taught_images import KEPT, TaughtImages, embed
from solo_rekd.objectives.teacher_cache import Put, Table, Wanted
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.progress import bar

Colours = tuple[tuple[float, ...], tuple[float, ...]]
BYTE = 255


class DrawnImages:
    """The pixels of the views of all training images, of which each epoch takes the next two.

    Args:
        pixels: V views of N images, shape (N, V, 3, H, W), uint8.
        labels: shape (N,), -1 where there is none.
        colours: mean and standard deviation of each channel, in [0, 1], to normalise by.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, colours: Colours) -> None:
        self.pixels, self.labels, self.colours = pixels, labels, colours
        # workers that outlive an epoch see it change
        self._first = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.pixels)

    def begin(self, epoch: int) -> None:
        """Turns to the two views of an epoch, counted from 0; after the last come the first."""
        self._first.fill_(2 * epoch % self.pixels.shape[1])

    @property
    def pair(self) -> tuple[int, int]:
        """The numbers of the epoch's two views."""
        first = int(self._first)
        return first, first + 1

    def views(self, place: int) -> list[Tensor]:
        """The epoch's two views of an image, normalised, each of shape (3, H, W)."""
        return [normalise(self.pixels[place, view], self.colours) for view in self.pair]


class DrawnViews:
    """The drawn views, and what the teacher says of them.

    Args:
        images: see `DrawnImages`.
        features: of each view, shape (N, V, F), in half precision.
        embeddings: L2-normalised, shape (N, V, d), likewise.
    """

    def __init__(self, images: DrawnImages, features: Tensor, embeddings: Tensor) -> None:
        self.images = images
        self._taught = TaughtImages(features.flatten(0, 1), embeddings.flatten(0, 1))

    def look_up(
        self, indexes: Tensor, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, Tensor]]:
        """Says what `FrozenTeacher` would say of the epoch's two views: see `TaughtImages`."""
        rows = indexes.cpu() * self.images.pixels.shape[1]
        return [self._taught.look_up(rows + view, dtype, device) for view in self.images.pair]


def normalise(pixels: Tensor, colours: Colours) -> Tensor:
    """Makes of bytes what the hosts' last two steps make of them, shape (..., 3, H, W)."""
    return transforms.normalize(pixels.float().div(BYTE), *map(list, colours))


def to_bytes(images: Tensor, colours: Colours) -> Tensor:
    """The bytes of which `normalise` makes images, of the same shape."""
    mean, std = (torch.tensor(each)[:, None, None] for each in colours)
    return ((images * std + mean) * BYTE).round().clamp(0, BYTE).to(torch.uint8)


def find_drawn(
    teacher: FrozenTeacher,
    stem: str,
    images: DataLoader,
    colours: Colours,
    views: int,
    seed: int,
    size: int,
    folder: Path,
) -> DrawnViews:
    """Reads the views and what the teacher says of them from the cache, or finds them.

    They are two files: other teachers share the first.

    Args:
        teacher: on the device that is to compute.
        stem: the setting `teacher_stem`.
        images: gives the training set, in any order, in batches of (places, views of shape
            (B, V, 3, H, W), labels).
        colours: mean and standard deviation by which they are normalised.
        views: V, an even number.
        seed: of the views.
        size: H and W.
        folder: of the cache.

    Raises:
        UserError: the images cannot be told from others, or neither disk nor memory has room.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    depends_on = {"drawn_views": str(views), "seed": str(seed)}

    def draw(put: Put) -> None:
        for places, drawn, labels in bar(images, "views", "batch"):
            put("pixels", places, to_bytes(drawn, colours))
            put("labels", places, labels)

    tables = {
        "pixels": Table((number, views, 3, size, size), torch.uint8),
        "labels": Table((number,), torch.int32),
    }
    wanted = Wanted(f"{views} views", depends_on, tables, draw)
    found = teacher_cache.find(wanted, None, stem, images.dataset, folder)
    pixels = found["pixels"]

    def ask(put: Put) -> None:
        parts = torch.arange(number).split(images.batch_size or 1)
        for places in bar(parts, "teacher's embeddings", "batch"):
            drawn = pixels[places].unbind(1)
            said = [embed(teacher, normalise(view, colours)) for view in drawn]
            features, embeddings = (torch.stack(each, 1) for each in zip(*said, strict=True))
            put("features", places, features)
            put("embeddings", places, embeddings)

    tables = {
        "features": Table((number, views, teacher.num_features), KEPT),
        "embeddings": Table((number, views, teacher.embedding_dim), KEPT),
    }
    wanted = Wanted(f"embeddings of {views} views", depends_on, tables, ask)
    said = teacher_cache.find(wanted, teacher, stem, images.dataset, folder)
    drawn = DrawnImages(pixels, found["labels"], colours)
    return DrawnViews(drawn, said["features"], said["embeddings"])
