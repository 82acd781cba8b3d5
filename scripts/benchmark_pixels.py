"""Times loading with decoded images against decoding them anew, in one process.

Usage:
    python scripts/benchmark_pixels.py FOLDER

FOLDER holds images in class folders. Reading alone, and reading with the two augmented crops of a
comparison; the median of 5 turns, in which the two ways alternate.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from solo_rekd import hosts
from solo_rekd.compare.jobs import AUGMENTATION, blur
from solo_rekd.hosts import names
from solo_rekd.images.decoded.cache import find_or_decode
from solo_rekd.images.decoded.loader import DecodedImages
from solo_rekd.images.read import load_rgb
from solo_rekd.images.sets import ClassFolders

TURNS = 5
IMAGES = 1000  # a turn


def speed(images: ClassFolders) -> float:
    """Reads about `IMAGES` images, evenly spaced, and returns how many a second."""
    indexes = range(0, len(images), max(1, len(images) // IMAGES))
    started = time.perf_counter()
    for index in indexes:
        images[index]
    return len(indexes) / (time.perf_counter() - started)


def two_crops(side: int) -> Callable:
    """The host's augmentation of a comparison, for images of `side` px."""
    hosts.commands()
    from solo.utils.pretrain_dataloader import prepare_n_crop_transform, prepare_transform

    settings = {
        name.classic: getattr(AUGMENTATION, field)
        for field, name in names.VIEW.items()
        if field != "crops"
    }
    settings |= {"crop_size": side, "gaussian_prob": blur(side)}
    settings |= {"solarization_prob": 0, "horizontal_flip_prob": 0.5, "color_jitter_prob": 0.8}
    settings |= {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return prepare_n_crop_transform([prepare_transform("custom", **settings)], [2])


def main() -> None:
    """Prints images a second of both ways, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    plain = ClassFolders(folder)
    side = max(plain[0][0].size)
    with tempfile.TemporaryDirectory() as temporary:
        out = find_or_decode([path for path, _ in plain.samples], folder, temporary)
        if out is None:
            parser.error(f"{temporary} has no room for the decoded images")
        mapped = DecodedImages(out, folder)
        augmented = ClassFolders(folder, two_crops(side))
        for name, images in (("reading", plain), ("reading and two crops", augmented)):
            speeds: dict[Callable, list[float]] = {load_rgb: [], mapped: []}
            for loader in TURNS * (load_rgb, mapped):
                images.loader = loader
                speeds[loader].append(speed(images))
            slow, fast = (statistics.median(speeds[loader]) for loader in (load_rgb, mapped))
            print(f"{name}: {slow:.0f} and {fast:.0f} images/s, ratio {fast / slow:.2f}")


if __name__ == "__main__":
    main()
