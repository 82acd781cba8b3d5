"""A network's features of photos, batch by batch, so that any number of photos fits in memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from solo_rekd.checkpoints.run_settings import read_student, refuse_untold
from solo_rekd.checkpoints.student import build_student
from solo_rekd.evaluation.features import make_ready
from solo_rekd.hosts.shared.saved import CHECKPOINTS, newest_whole
from solo_rekd.images.data_sets import CUSTOM, MEAN, STD
from solo_rekd.images.read import load_rgb
from solo_rekd.images.transforms import plain_transform
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.progress import bar

WEIGHTS, TRAINING = "student.safetensors", "pretrain"  # in a run's folder
BATCH_SIZE = 128
NAMED = 3  # unreadable photos that a warning names, at most

_log = logging.getLogger("solo_rekd")


class Batch(NamedTuple):
    """The features of some photos.

    Attributes:
        places: indexes of the photos that could be read, among all.
        features: shape (B, f), float32, on the CPU.
    """

    places: list[int]
    features: Tensor


class Photos(Dataset):
    """Photos without augmentation; for one that cannot be read, the reason.

    Args:
        paths: paths of the photos.
        size: side of the network's images, in px.
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
    """

    def __init__(
        self, paths: Sequence[str], size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.paths, self.transform = paths, plain_transform(CUSTOM, size, mean, std)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[int, Any]:
        """Returns the index, and the image of shape (3, size, size) or the reason it is missing."""
        try:
            return place, self.transform(load_rgb(self.paths[place]))
        except UserError as error:
            return place, str(error)


def collate(items: list[tuple[int, Any]]) -> tuple[list[int], Tensor | None, list[str]]:
    """Collates images: their indexes, the batch (None: no image), and the errors."""
    read = [item for item in items if isinstance(item[1], Tensor)]
    problems = [image for _, image in items if isinstance(image, str)]
    images = torch.stack([image for _, image in read]) if read else None
    return [place for place, _ in read], images, problems


def embed(
    network: Callable[[Tensor], Tensor],
    photos: Photos,
    workers: int = 0,
    batch_size: int = BATCH_SIZE,
    title: str = "embedding",
) -> Iterator[Batch]:
    """Embeds photos in order; at the end, warns about those that could not be read.

    Args:
        network: images (B, 3, H, W) to features (B, f), both on the CPU.
        photos: the photos.
        workers: processes that load them.
        batch_size: photos per batch; the features do not depend on it.
        title: title of the progress bar.

    Raises:
        UserError: no photo can be read.
    """
    loader: Any = DataLoader(photos, batch_size=batch_size, num_workers=workers, collate_fn=collate)
    broken: list[str] = []
    number = 0
    for places, images, problems in bar(loader, title, "batch"):
        number += len(problems)
        broken += problems[: NAMED - len(broken)]
        if images is not None:
            yield Batch(places, network(images))
    if number == len(photos):
        raise UserError(f"no photo can be read: {broken[0]}" if broken else "there are no photos")
    if number:
        more = " and others" if number > len(broken) else ""
        _log.warning("%d photos are left out: %s%s", number, "; ".join(broken), more)


def on_device(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Wraps a network for `embed`: on the GPU where there is one, without gradients."""
    device = make_ready(network)

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        return network(images.to(device)).float().cpu()

    return run


def all_features(
    network: Callable[[Tensor], Tensor], photos: Photos, workers: int = 0, title: str = "embedding"
) -> Batch:
    """Embeds photos whose features fit in memory."""
    places, features = [], []
    for batch in embed(network, photos, workers, title=title):
        places += batch.places
        features.append(batch.features)
    return Batch(places, torch.cat(features))


class Reader(NamedTuple):
    """A network that was read from a file, and how it sees images.

    Attributes:
        backbone: images to features.
        name: name of the backbone.
        size: side of the images, in px.
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
        path: path of the file.
    """

    backbone: nn.Module
    name: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    path: Path


def read_network(path: Path, encoder: str | None = None, size: int | None = None) -> Reader:
    """Reads the student of a run's folder, or the network of any checkpoint.

    Args:
        path: path of the folder, or of the file.
        encoder: name of the backbone; None: as the file records.
        size: side of the images in px; None: as the file records.

    Raises:
        UserError: there is no network, the file cannot be read, or it lacks what is not given.
    """
    path = find_network(path)
    trained = read_student(path)
    encoder, size = encoder or trained.get("encoder"), size or trained.get("crop_size")
    for name, value in (("encoder", encoder), ("crop_size", size)):
        if value is None:
            raise refuse_untold(name, path)
    assert encoder is not None and size is not None
    stem = trained.get("stem", "auto") if trained.get("encoder") == encoder else "auto"
    backbone = build_student(path, encoder, size, stem)
    mean, std = (tuple(trained.get(key, usual)) for key, usual in (("mean", MEAN), ("std", STD)))
    return Reader(backbone, encoder, size, mean, std, path)


def find_network(path: Path) -> Path:
    """Returns the student's file in a run's folder, or `path` if that is a file.

    Raises:
        UserError: the folder holds no student, or `path` does not exist.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path} is neither the folder of a run nor a weights file")
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    newest = newest_whole((path / TRAINING).glob(CHECKPOINTS))
    if newest is None:
        raise UserError(f"{path} holds neither {WEIGHTS} nor a checkpoint of a run")
    return newest
