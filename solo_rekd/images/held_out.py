"""Photos that are held out from training, as a network sees them.

They need no labels. They are read once and kept as bytes, so that every epoch can use them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose
from torchvision.transforms.functional import hflip, pil_to_tensor, resized_crop

from solo_rekd.images.read import load_rgb
from solo_rekd.images.transforms import evaluation_crop
from solo_rekd.utils.cores import cores
from solo_rekd.utils.errors import UserError

# of the second view: what a person would call the same photo
LEAST_AREA = 0.5
ASPECT = 4 / 3
VIEW_SEED = 0  # every run draws the same second views

_log = logging.getLogger("solo_rekd")


class HeldOut(NamedTuple):
    """Photos as a network sees them, before normalisation.

    Attributes:
        pixels: shape (N, 3, S, S), uint8, resized and centre-cropped as in an evaluation.
        views: a second view of each, of the same shape: a random part with at least `LEAST_AREA` of
            the photo, perhaps mirrored.
    """

    pixels: Tensor
    views: Tensor


def spread(photos: Sequence[str], number: int) -> list[str]:
    """Chooses evenly spaced photos, so that every folder of a list has its share.

    Args:
        photos: paths.
        number: number of photos to choose at most, at least 1.
    """
    number = min(number, len(photos))
    return [photos[place * len(photos) // number] for place in range(number)]


def read_held_out(paths: Sequence[str], size: int) -> HeldOut:
    """Reads photos in threads; unreadable ones are left out and reported.

    The random number generators of torch, NumPy and Python are not used.

    Args:
        paths: paths of the photos.
        size: side of the network's images, in px.

    Raises:
        UserError: no photo can be read.
    """
    crop = Compose(evaluation_crop(size))

    def read(place: int) -> tuple[Tensor, Tensor] | UserError:
        try:
            photo = load_rgb(paths[place])
        except UserError as error:
            return error
        draws = np.random.default_rng((VIEW_SEED, place))
        return pil_to_tensor(crop(photo)), pil_to_tensor(random_view(photo, size, draws))

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(read, range(len(paths))))
    broken = [each for each in found if isinstance(each, UserError)]
    whole = [each for each in found if not isinstance(each, UserError)]
    if not whole:
        raise broken[0]
    if broken:
        _log.warning("%d of %d held-out photos: %s", len(broken), len(paths), broken[0])
    pixels, views = (torch.stack(column) for column in zip(*whole, strict=True))
    return HeldOut(pixels, views)


def random_view(photo: Image.Image, size: int, draws: np.random.Generator) -> Image.Image:
    """Draws a random part of a photo, `size` px wide and high, see `HeldOut`."""
    width, height = photo.size
    area = width * height * draws.uniform(LEAST_AREA, 1)
    ratio = math.exp(draws.uniform(-math.log(ASPECT), math.log(ASPECT)))
    wide = min(width, max(1, round(math.sqrt(area * ratio))))
    high = min(height, max(1, round(math.sqrt(area / ratio))))
    top, left = int(draws.integers(height - high + 1)), int(draws.integers(width - wide + 1))
    view = resized_crop(photo, top, left, high, wide, [size, size])
    return hflip(view) if draws.random() < 0.5 else view


def normalised(
    pixels: Tensor, mean: Sequence[float], std: Sequence[float], batch_size: int, like: Tensor
) -> Iterator[Tensor]:
    """Yields normalised batches of photos.

    Args:
        pixels: shape (N, 3, S, S), uint8.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        batch_size: photos per batch.
        like: tensor with the device and type of the batches.
    """
    centre, scale = (torch.tensor(each, device=like.device)[:, None, None] for each in (mean, std))
    for part in pixels.split(batch_size):
        yield ((part.to(like.device) / 255 - centre) / scale).to(like.dtype)
