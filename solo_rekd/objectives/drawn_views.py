"""Augmented views that are drawn once, with a frozen teacher's outputs for each.

A frozen teacher then runs once per data set, and not at every step of every run, as in fast
knowledge distillation (arXiv 2112.01528). There the teacher's outputs are kept with the parameters
of the crops; here the pixels are kept too, so that a step neither decodes nor augments.
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
    """The pixels of the views of all training images; each epoch uses the next two views.

    Args:
        pixels: V views of N images, shape (N, V, 3, H, W), uint8.
        labels: shape (N,), -1 for images without one.
        colours: channel means and standard deviations to normalise with, in [0, 1].
    """

    def __init__(self, pixels: Tensor, labels: Tensor, colours: Colours) -> None:
        self.pixels, self.labels, self.colours = pixels, labels, colours
        # shared, so that persistent workers see it change
        self._first = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.pixels)

    def begin(self, epoch: int) -> None:
        """Selects the two views of an epoch, counted from 0; after the last come the first."""
        self._first.fill_(2 * epoch % self.pixels.shape[1])

    @property
    def pair(self) -> tuple[int, int]:
        """Returns the numbers of the epoch's two views."""
        first = int(self._first)
        return first, first + 1

    def views(self, place: int) -> list[Tensor]:
        """Returns the epoch's two views of an image, normalised, each of shape (3, H, W)."""
        return [normalise(self.pixels[place, view], self.colours) for view in self.pair]


class DrawnViews:
    """The drawn views, and the teacher's outputs for them.

    Args:
        images: see `DrawnImages`.
        features: features of each view, shape (N, V, F), in half precision.
        embeddings: L2-normalised embeddings of each view, shape (N, V, d), in half precision.
    """

    def __init__(self, images: DrawnImages, features: Tensor, embeddings: Tensor) -> None:
        self.images = images
        self._taught = TaughtImages(features.flatten(0, 1), embeddings.flatten(0, 1))

    def look_up(
        self, indexes: Tensor, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, Tensor]]:
        """Returns the teacher's outputs for the epoch's two views: see `TaughtImages.look_up`."""
        rows = indexes.cpu() * self.images.pixels.shape[1]
        return [self._taught.look_up(rows + view, dtype, device) for view in self.images.pair]


def normalise(pixels: Tensor, colours: Colours) -> Tensor:
    """Converts and normalises bytes as the hosts' last two steps do, shape (..., 3, H, W)."""
    return transforms.normalize(pixels.float().div(BYTE), *map(list, colours))


def to_bytes(images: Tensor, colours: Colours) -> Tensor:
    """Inverts `normalise`: returns bytes of the same shape."""
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
    """Reads the views and the teacher's outputs for them from the cache, or computes them.

    They are two files, so that other teachers can share the views.

    Args:
        teacher: teacher, on the device for the computation.
        stem: value of the setting `teacher_stem`.
        images: loader of the training set, in any order, in batches of (indexes, views of shape
            (B, V, 3, H, W), labels).
        colours: channel means and standard deviations that they are normalised with.
        views: V, an even number.
        seed: seed of the views.
        size: H and W.
        folder: folder of the cache.

    Raises:
        UserError: the images cannot be identified, or neither disk nor memory has room.
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
