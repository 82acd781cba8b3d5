"""Thumbnails of photos, as text that can be embedded in a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from solo_rekd.images.read import load_rgb

QUALITY = 72  # of JPEG, in percent


def thumbnail(path: str, side: int) -> str:
    """Makes a square thumbnail of a photo.

    Args:
        path: path of the photo.
        side: side of the thumbnail, in px.

    Returns:
        A `data:` URL.

    Raises:
        UserError: the photo cannot be read.
    """
    picture = ImageOps.fit(load_rgb(path), (side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def apart(points: np.ndarray, distance: float, most: int) -> list[int]:
    """Chooses points that do not cover each other.

    Args:
        points: points in [0, 1] in both directions, shape (N, 2).
        distance: least difference of two points in one of the two directions.
        most: number of points to choose, at most.

    Returns:
        Their indexes, in order.
    """
    chosen: list[int] = []
    for place, point in enumerate(points):
        if len(chosen) == most:
            break
        if not chosen or (np.abs(points[chosen] - point).max(1) >= distance).all():
            chosen.append(place)
    return chosen


def spread(number: int, most: int) -> Sequence[int]:
    """Returns at most `most` of `number` indexes, evenly spread."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int)).tolist()
