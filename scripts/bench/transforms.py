"""Times the host's augmentation on PIL images against torchvision's v2 transforms, on one core.

Usage:
    python scripts/bench/transforms.py FOLDER --size 32 64 224

FOLDER holds images in class folders; they are decoded first. Every step of the augmentation of a
comparison, with a probability of 1, and the whole augmentation with its own probabilities: the
host's on PIL images, and v2's on PIL images and on tensors of 8 bits. The figures are microseconds
of processor time for a crop, the median of the turns, in which the ways alternate.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor

from solo_rekd import hosts
from solo_rekd.compare.jobs import AUGMENTATION as DRAWS
from solo_rekd.compare.jobs import blur
from solo_rekd.hosts import names
from solo_rekd.images.data_sets import MEAN, STD
from solo_rekd.images.sets import ClassFolders

WAYS = ("host, PIL", "v2, PIL", "v2, tensor")
IMAGES, TURNS = 100, 5


def of_host(side: int, **changes: Any) -> Any:
    """The classic host's augmentation of a comparison, of which main's has the same steps."""
    hosts.commands()
    from solo.utils.pretrain_dataloader import prepare_transform

    given = {name.classic: getattr(DRAWS, field) for field, name in names.VIEW.items()}
    del given["num_crops_per_aug"]
    given |= {"crop_size": side, "gaussian_prob": blur(side), "mean": MEAN, "std": STD}
    return prepare_transform("custom", **given | changes).transform


def of_v2(side: int) -> list[tuple[str, Any]]:
    """The same steps by v2, each with its probability."""
    jitter = v2.ColorJitter(DRAWS.brightness, DRAWS.contrast, DRAWS.saturation, DRAWS.hue)
    # a window of four deviations to each side, as far as Pillow's blur reaches
    soft = v2.GaussianBlur(kernel_size=17, sigma=(0.1, 2.0))
    cubic = InterpolationMode.BICUBIC
    scale = (DRAWS.min_scale, DRAWS.max_scale)
    crop = v2.RandomResizedCrop(side, scale=scale, interpolation=cubic, antialias=True)
    return [
        ("crop", crop),
        ("jitter", v2.RandomApply([jitter], p=DRAWS.jitter)),
        ("grey", v2.RandomGrayscale(p=DRAWS.grayscale)),
        ("blur", v2.RandomApply([soft], p=blur(side))),
        ("flip", v2.RandomHorizontalFlip(p=DRAWS.flip)),
    ]


def tail() -> v2.Compose:
    """What makes a normalised tensor of an image of either kind."""
    return v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    )


def always(step: Any) -> Any:
    """A step with a probability of 1."""
    if isinstance(step, torch.nn.Module) and hasattr(step, "p"):
        step.p = 1.0
    return step


def ways(side: int) -> dict[str, dict[str, Callable[[Any], Any]]]:
    """The three ways of every step, and of the whole augmentation."""
    whole = of_host(side)
    steps = dict(zip(("crop", "jitter", "grey", "blur"), whole.transforms, strict=False))
    steps["flip"] = whole.transforms[-3]
    head, found = [step for _, step in of_v2(side)], {}
    v2_whole = v2.Compose([*head, tail()])
    for (name, step), host in zip(of_v2(side), steps.values(), strict=True):
        found[name] = dict(zip(WAYS, (always(host), always(step), always(step)), strict=True))
    normalise = of_host(side).transforms[-2:]
    v1 = v2.Compose(normalise) if not normalise else (lambda x: normalise[1](normalise[0](x)))
    found["tensor, normalise"] = dict(zip(WAYS, (v1, tail(), tail()), strict=True))
    found["whole"] = dict(zip(WAYS, (of_host(side), v2_whole, v2_whole), strict=True))
    return found


def microseconds(way: Callable[[Any], Any], images: Iterable[Any]) -> float:
    """Processor time of a way for an image."""
    images = list(images)
    started = time.process_time()
    for image in images:
        way(image)
    return (time.process_time() - started) / len(images) * 1e6


def measure(folder: Path, side: int, turns: int = TURNS) -> list[dict[str, Any]]:
    """Measures all ways at one size.

    Returns:
        A row for every step: `step`, `size`, and the microseconds of each of `WAYS`.
    """
    plain = ClassFolders(folder)
    places = range(0, len(plain), max(1, len(plain) // IMAGES))
    full: list[Image.Image] = [plain[place][0] for place in islice(places, IMAGES)]
    cropped = [image.resize((side, side)) for image in full]
    rows = []
    for step, each in ways(side).items():
        pictures = full if step in ("crop", "whole") else cropped
        inputs = {way: pictures for way in WAYS}
        inputs["v2, tensor"] = [pil_to_tensor(image) for image in pictures]
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(turns + 1):
            for way in WAYS:
                taken[way].append(microseconds(each[way], inputs[way]))
        medians = {way: statistics.median(taken[way][1:]) for way in WAYS}
        rows.append({"step": step, "size": side, **medians})
    return rows


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, nargs="+", default=(32, 64, 224))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| step | size [px] | {' | '.join(WAYS)} | host / v2 on tensors |")
    print("|---|---|---|---|---|---|")
    for side in args.size:
        for row in measure(args.folder, side):
            figures = [row[way] for way in WAYS]
            shown = " | ".join(f"{figure:.0f}" for figure in figures)
            print(f"| {row['step']} | {side} | {shown} | {figures[0] / figures[2]:.2f} |")


if __name__ == "__main__":
    main()
