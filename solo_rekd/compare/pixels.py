"""Images decoded once, for all the runs of a comparison: one flat file that they map into memory.

The folder holds `pixels.bin`, the RGB bytes of every image one after the other, and `index.json`.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from itertools import chain
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features
from torchvision.datasets import folder as image_folder
from tqdm import tqdm

from solo_rekd.cores import cores
from solo_rekd.errors import UserError
from solo_rekd.files import decoding, read_json, replacing, sha256
from solo_rekd.fingerprint import fingerprint_files

PART = 128  # images that are in memory at once
DECODERS = ("libjpeg_turbo", "webp", "jpg_2000")  # of Pillow, whose pixels a version may change
SAMPLE = 256  # images whose headers tell the size of all

# modes of more than 8 bits a colour, which torchvision makes white where they exceed 255
DEEP = ("I", "I;16", "I;16L", "I;16B", "F")

_log = logging.getLogger("solo_rekd")


def write(paths: Sequence[str], out: Path, limit_bytes: int) -> bool:
    """Decodes images into a folder, unless the same ones are there already.

    Args:
        paths: the images, as torchvision's ImageFolder names them.
        out: the folder; one with other images is replaced.
        limit_bytes: more than that is left undecoded.

    Returns:
        Whether the decoded images are there.

    Raises:
        UserError: an image cannot be decoded.
    """
    identity = identify(paths)
    if _holds(out, identity):
        return True
    estimate = estimate_bytes(paths)
    if estimate > limit_bytes:
        line = "decoded images would take %.1f GB, more than %.1f: every run decodes them anew"
        _log.info(line, estimate / 1e9, limit_bytes / 1e9)
        return False
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir(parents=True)
    try:
        places = _write_pixels(paths, unfinished / "pixels.bin")
        index = {
            "identity": identity,
            "sha256": sha256(unfinished / "pixels.bin"),
            "places": places,
        }
        with replacing(unfinished / "index.json") as file:
            file.write_text(json.dumps(index))
        shutil.rmtree(out, ignore_errors=True)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def identify(paths: Sequence[str]) -> dict[str, str]:
    """All that decoded images depend on: the images, where they are, and what decodes them."""
    root = os.path.commonpath(paths)
    return {
        "root": root,  # by their paths the runs look them up
        "images": fingerprint_files(paths, root),
        "Pillow": PIL.__version__,
        **{name: str(features.version(name)) for name in DECODERS},
    }


def install(out: str | Path) -> None:
    """Makes torchvision's ImageFolder read the decoded images, in this process and its forks.

    An image that is not among them is decoded as ever.

    Args:
        out: the folder that `write` wrote.
    """
    out, decode = Path(out), image_folder.pil_loader
    places = json.loads((out / "index.json").read_text())["places"]
    pixels = np.memmap(out / "pixels.bin", dtype=np.uint8, mode="r")

    def load(path: str) -> Image.Image:
        if path not in places:
            return decode(path)
        offset, height, width = places[path]
        block = pixels[offset : offset + 3 * height * width]
        return Image.frombytes("RGB", (width, height), block)

    image_folder.pil_loader = load


def estimate_bytes(paths: Sequence[str]) -> int:
    """What the images would take when decoded, from the sizes of a sample of them.

    Raises:
        UserError: one of the sample cannot be read.
    """
    sample = paths[:: max(1, len(paths) // SAMPLE)]
    sizes = []
    for path in sample:
        with decoding(path), Image.open(path) as image:
            _refuse_deep(path, image)
            sizes.append(3 * image.width * image.height)
    return round(sum(sizes) / len(sizes) * len(paths))


def _write_pixels(paths: Sequence[str], out: Path) -> dict[str, tuple[int, int, int]]:
    """Writes the images one after the other; returns offset, height and width of each."""
    places: dict[str, tuple[int, int, int]] = {}
    with replacing(out) as whole, whole.open("wb") as file, ThreadPool(cores()) as threads:
        # part by part: a pool does not wait for the disk
        parts = (paths[start : start + PART] for start in range(0, len(paths), PART))
        decoded = chain.from_iterable(threads.imap(_pixels, part, chunksize=4) for part in parts)
        bar = tqdm(decoded, "decoding images", len(paths), unit="image", mininterval=1)
        for path, pixels in zip(paths, bar, strict=True):
            height, width, _ = pixels.shape
            places[path] = (file.tell(), height, width)
            file.write(pixels.tobytes())
    return places


def _refuse_deep(path: str, image: Image.Image) -> None:
    if image.mode in DEEP:
        raise UserError(f"{path} has {image.mode} pixels: give images of 8 bits a colour")


def _pixels(path: str) -> np.ndarray:
    with decoding(path), Image.open(path) as image:
        _refuse_deep(path, image)
        return np.asarray(image.convert("RGB"))


def _holds(out: Path, identity: dict[str, str]) -> bool:
    """Whether the images are there, every byte as it was written: a second for a gigabyte."""
    index, pixels = read_json(out / "index.json") or {}, out / "pixels.bin"
    if index.get("identity") != identity or not pixels.is_file():
        return False
    return sha256(pixels) == index.get("sha256")
