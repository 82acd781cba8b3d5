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
from tqdm import tqdm

from solo_rekd.images.fingerprint import fingerprint_files
from solo_rekd.images.read import load_rgb, opened
from solo_rekd.images.sets import read_with
from solo_rekd.utils.cores import cores
from solo_rekd.utils.files import read_json, replacing, sha256

READER = "2"  # of `load_rgb`: a change of the pixels it gives makes older folders useless
PART = 128  # images that are in memory at once
DECODERS = ("libjpeg_turbo", "webp", "jpg_2000")  # of Pillow, whose pixels a version may change
SAMPLE = 256  # images whose headers tell the size of all

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
        "reader": READER,
        "root": root,  # by their paths the runs look them up
        "images": fingerprint_files(paths, root),
        "Pillow": PIL.__version__,
        **{name: str(features.version(name)) for name in DECODERS},
    }


class DecodedImages:
    """Reads images from a folder that `write` wrote; an image that is not among them is decoded.

    A copy in another process, even a spawned one, maps the same file into memory.

    Args:
        out: the folder.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.places = json.loads((self.out / "index.json").read_text())["places"]
        self.pixels = np.memmap(self.out / "pixels.bin", dtype=np.uint8, mode="r")

    def __call__(self, path: str) -> Image.Image:
        """Returns the image of a path, mode RGB."""
        if path not in self.places:
            return load_rgb(path)
        offset, height, width = self.places[path]
        block = self.pixels[offset : offset + 3 * height * width]
        return Image.frombytes("RGB", (width, height), block)

    def __reduce__(self) -> tuple:
        return DecodedImages, (self.out,)


def install(out: str | Path) -> None:
    """Makes the data sets of this process read decoded images.

    Args:
        out: the folder that `write` wrote.
    """
    read_with(DecodedImages(out))


def estimate_bytes(paths: Sequence[str]) -> int:
    """What the images would take when decoded, from the sizes of a sample of them.

    Raises:
        UserError: one of the sample cannot be read.
    """
    sample = paths[:: max(1, len(paths) // SAMPLE)]
    sizes = []
    for path in sample:
        with opened(path) as image:
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


def _pixels(path: str) -> np.ndarray:
    return np.asarray(load_rgb(path))


def _holds(out: Path, identity: dict[str, str]) -> bool:
    """Whether the images are there, every byte as it was written: a second for a gigabyte."""
    index, pixels = read_json(out / "index.json") or {}, out / "pixels.bin"
    if index.get("identity") != identity or not pixels.is_file():
        return False
    return sha256(pixels) == index.get("sha256")
