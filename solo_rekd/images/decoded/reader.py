"""How a data set reads its images: decoded before, or as files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from solo_rekd.images.decoded.chosen import chosen
from solo_rekd.images.decoded.loader import DecodedImages
from solo_rekd.images.read import load_rgb
from solo_rekd.images.tensors import on_tensors

Loader = Callable[[str], Any]


def reader(
    source: str | Path, transform: Callable | None, root: str | Path | None = None
) -> tuple[Loader, Callable | None]:
    """Says how images are read, and by which form of the transform.

    Args:
        source: a folder of images, or an index or a list of them.
        transform: of each image.
        root: the folder that they lie in; None: `source`.

    Returns:
        What takes the path of an image, and the transform of what that gives; both can be pickled.
    """
    decoded = chosen(source)
    if decoded is None:
        return load_rgb, transform
    fitted = on_tensors(transform) if decoded.tensors else None
    loader = DecodedImages(decoded.folder, source if root is None else root, fitted is not None)
    return loader, fitted or transform
