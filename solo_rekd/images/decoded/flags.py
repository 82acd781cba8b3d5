"""The flags of decoded images, and their values; it imports no torch."""

from collections.abc import Callable
from typing import Any

from solo_rekd.lengths import AUTO

OFF = "off"
HOST, V2 = "host", "v2"
TRANSFORMS = (AUTO, HOST, V2)


def add_flags(add: Callable[..., Any], default: str) -> None:
    """Adds the flags of decoded images.

    Args:
        add: adds a flag to a group.
        default: where they are kept unless a flag says so.
    """
    add(
        "--decoded_images",
        default=default,
        metavar="WHERE",
        help="keep decoded images for this run and others: auto, in the user's cache folder; a "
        f"folder; or off. Default: {default}",
    )
    add(
        "--transforms",
        choices=TRANSFORMS,
        default=AUTO,
        help="what resizes decoded images: host, the host's transforms; v2, torchvision's v2 "
        "transforms, on tensors. Default: auto, v2 for large images",
    )
