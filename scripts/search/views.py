"""Views of a data set and what a frozen teacher says of them, drawn once and kept in one file.

A run that takes each view once computes what a run in a host computes, without the teacher's time.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import transforms
from tqdm import tqdm

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.compare.jobs import AUGMENTATION
from solo_rekd.images.sets import ImageFolder
from solo_rekd.memory_format import choose, lay_out
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.teachers.views import make_views

MEAN = STD = (0.5, 0.5, 0.5)
BATCH = 128
BICUBIC = transforms.InterpolationMode.BICUBIC
PARTS = ("train", "tune")  # a search never sees the test images


class Teacher(NamedTuple):
    """A frozen teacher's file and sight.

    Attributes:
        name: of its backbone.
        path: of its weights.
        size: side to which the views are resized, in px.
    """

    name: str
    path: Path
    size: int


def augmentation(size: int) -> transforms.Compose:
    """The augmentation of `solo-rekd compare` for small images, to a picture of `size` px."""
    as_compared = AUGMENTATION
    colours = (
        as_compared.brightness,
        as_compared.contrast,
        as_compared.saturation,
        as_compared.hue,
    )
    area = (as_compared.min_scale, as_compared.max_scale)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, area, interpolation=BICUBIC),
            transforms.RandomApply([transforms.ColorJitter(*colours)], as_compared.jitter),
            transforms.RandomGrayscale(as_compared.grayscale),
            transforms.RandomHorizontalFlip(as_compared.flip),
            transforms.PILToTensor(),
        ]
    )


def plain(size: int) -> transforms.Compose:
    """The whole image at `size` px, as it is evaluated."""
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()]
    return transforms.Compose(steps)


def normalised(pixels: Tensor) -> Tensor:
    """Bytes (B, 3, H, W) to what a network sees."""
    return pixels.float().div_(127.5).sub_(1)  # mean and deviation are 0.5


def embed(teacher: FrozenTeacher, pixels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The teacher's features (N, F) and unit embeddings (N, d) of bytes (N, 3, H, W)."""
    said = [teacher(normalised(part)) for part in tqdm(pixels.split(BATCH), name)]
    return torch.cat([f for f, _ in said]), torch.cat([e for _, e in said])


def draw(data: Path, teacher: Teacher, size: int, number: int, path: Path) -> None:
    """Draws `number` views of each training image, embeds them, and writes the file.

    Args:
        data: folder of the image folders `PARTS`.
        teacher: see `Teacher`.
        size: side of the views, in px.
        number: of views of an image.
        path: of the file.
    """
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    found: dict[str, Tensor] = {}
    for part in PARTS:
        images = ImageFolder(data / part, plain(size))
        found[f"{part}.pixels"] = torch.stack([pixels for pixels, _ in images])
        found[f"{part}.labels"] = torch.tensor(images.targets)
    images = ImageFolder(data / "train")
    augment = augmentation(size)
    drawn = [torch.stack([augment(image) for _ in range(number)]) for image, _ in tqdm(images)]
    views = torch.stack(drawn)

    loaded = load_networks(teacher.path, teacher.name, teacher.size)
    lay_out(loaded.backbone, choose(loaded.backbone).name)
    seen = make_views((MEAN, STD, size), (MEAN, STD, teacher.size))
    network = FrozenTeacher(loaded.backbone, loaded.projector, views=seen)
    for part in PARTS:
        features, embeddings = embed(network, found[f"{part}.pixels"], part)
        found[f"{part}.features"], found[f"{part}.embeddings"] = features, embeddings
    features, embeddings = embed(network, views.flatten(0, 1), "views")
    found["views.features"] = features.half().unflatten(0, views.shape[:2])
    found["views.embeddings"] = embeddings.unflatten(0, views.shape[:2])
    found["views.pixels"] = views
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, path)


def read(path: Path) -> dict[str, Tensor]:
    """Reads the file: pixels, labels, features and embeddings of `PARTS` and of `views`."""
    return load_file(path)
