"""Images of noise in memory, as a host's data set gives them: loading does not count."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Normalize

CLASSES = 1000


class TwoViews(Normalize):
    """Two views of an image of noise, in place of a host's augmentation."""

    def __init__(self, side: int) -> None:
        super().__init__((0.5,) * 3, (0.5,) * 3)
        view = torch.randn(3, side, side)
        self.views = [view, view.flip(2)]

    def forward(self, image: Image.Image) -> list[torch.Tensor]:
        return self.views


class RandomImages(Dataset):
    """Two views of noise an image, with the index and label that the host's data sets give.

    Another transform, such as that of `teacher_view=image`, gets a grey image.
    """

    def __init__(self, number: int, side: int) -> None:
        self.image, self.transform = Image.new("RGB", (side, side), "grey"), TwoViews(side)
        self.data = np.arange(number)  # by which data sets are told from others

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[int, Any, int]:
        return index, self.transform(self.image), index % CLASSES


def load(number: int, side: int, batch: int) -> DataLoader:
    """Batches of (indexes, two views, labels), whose views are made once."""
    images = RandomImages(number, side)
    views = [torch.randn(batch, 3, side, side) for _ in range(2)]

    def collate(items: list[tuple[int, Any, int]]) -> list[Any]:
        indexes, labels = (torch.tensor([item[place] for item in items]) for place in (0, 2))
        return [indexes, [view[: len(items)] for view in views], labels]

    return DataLoader(images, batch, collate_fn=collate)


def write_folder(folder: Path) -> None:
    """Writes the folder of images that the host asks for, with one image."""
    (folder / "images" / "grey").mkdir(parents=True)
    Image.new("RGB", (8, 8), "grey").save(folder / "images" / "grey" / "0.png")


def write_tree(folder: Path, number: int, side: int = 32, classes: int = 4) -> None:
    """Writes `train` and `val`, with class folders of JPEG files of noise.

    Args:
        folder: where they go.
        number: images of each class in each split.
        side: of the images, in px.
        classes: class folders of a split.
    """
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(classes):
            place = folder / split / str(label)
            place.mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 256, (side, side, 3)).astype("uint8")
                Image.fromarray(pixels).save(place / f"{index}.jpg")
