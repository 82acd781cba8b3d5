"""Reads an image file as RGB with 8 bits per channel, the same in both hosts and in `compare`.

The pixels are those of torchvision's own reader, with two exceptions. A picture is turned upright
by its EXIF orientation, as DALI does. Greyscale pixels of more than 8 bits are refused, because
torchvision clips them at 255, so that most of them would be white.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image, ImageOps

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import reading


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Opens an image, and names it in every error of reading and decoding it in the block.

    Args:
        path: the file; its format follows from its content, not from its ending.

    Raises:
        UserError: the file cannot be read, is not an image, is damaged, has no pixels, or has more
            than 8 bits per grey value.
    """
    with reading(path), _decoding(path), Image.open(path) as image:
        # old and new versions of Pillow open a 16-bit file as I or as one of several I;16
        if image.mode.startswith("I") or image.mode == "F":
            raise UserError(
                f"{path} has {image.mode} pixels: convert the images to 8 bits per colour; only "
                "you know which of their values are black and white"
            )
        if 0 in image.size:
            raise ValueError("it has no pixels")
        yield image


def load_rgb(path: str | Path) -> Image.Image:
    """Reads an image.

    Transparency is dropped, as torchvision and DALI do. Of an animation or a file with several
    pages, the first picture is read. 16-bit colours keep their high byte.

    Args:
        path: the file.

    Returns:
        The upright picture, mode RGB.

    Raises:
        UserError: see `opened`.
    """
    with opened(path) as image:
        # a picture with a damaged EXIF block is read as one without
        with suppress(SyntaxError, ValueError, KeyError, TypeError, struct.error):
            ImageOps.exif_transpose(image, in_place=True)
        return image.convert("RGB")


def of_content(error: UserError) -> bool:
    """Whether an error of `opened` says that the content cannot be decoded, and nothing else.

    Others are the system's, which may pass, and those of pixels without a known scale.
    """
    cause = error.__cause__
    return cause is not None and not (isinstance(cause, OSError) and cause.errno is not None)


@contextmanager
def _decoding(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise any kind for a damaged file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the system, not of the content
        raise UserError(f"{path} cannot be decoded: {error}") from error
