"""Runs the demo: a comparison that shows what distillation is for, on handwritten digits.

The images are the 1,797 digits that scikit-learn ships. A large network is pretrained on them with
the host's MoCo v2+; a small one learns from it with ReKD, and without it with MoCo v2+ and SimCLR,
for the same number of epochs. They are evaluated with 3 labels per class: with all labels, even an
untrained network recognises 9 of 10 digits, which leaves little to learn.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from solo_rekd import hosts
from solo_rekd.hosts import HOST_HELP
from solo_rekd.utils.errors import UserError, at_least
from solo_rekd.utils.files import UNFINISHED

IMAGE_SIZE = 32
# each method's best learning rate on part of the training images, see docs/demo.md
METHODS = "rekd+lr=0.3,simclr+lr=0.3,mocov2plus+lr=0.01,untrained"
COMPARISON = (
    f"--methods {METHODS} --student mobilenet_v3_small --teacher resnet18 --lr 0.03 "
    "--stem imagenet --teacher_stem imagenet --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 "
    "--batch_size 32 --linear_epochs 2 --linear_lr 0.3 --num_workers 0 --judge_by few_label"
)
# mirrored digits are not digits, there are no colours, and little of a digit can be cropped away
HOST_FLAGS = "--horizontal_flip_prob 0 --min_scale 0.4 --saturation 0 --hue 0 --gray_scale_prob 0"


def write_digits(folder: Path) -> None:
    """Writes scikit-learn's digits as an image folder: train/<digit>/ and val/<digit>/, 32 px.

    Args:
        folder: folder to write; left as it is if it exists.
    """
    if folder.is_dir():
        return
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype("uint8")
    indexes = range(len(labels))
    splits = train_test_split(indexes, test_size=0.2, stratify=labels, random_state=0)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # a temporary folder of its own: another demo may be writing the same digits
    with tempfile.TemporaryDirectory(
        prefix=f"{folder.name}.", suffix=UNFINISHED, dir=folder.parent
    ) as unfinished:
        for name, members in zip(("train", "val"), splits, strict=True):
            for index in members:
                path = Path(unfinished) / "digits" / name / str(labels[index]) / f"{index:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                size = (IMAGE_SIZE, IMAGE_SIZE)
                image = Image.fromarray(pixels[index]).resize(size, Image.Resampling.BICUBIC)
                image.convert("RGB").save(path)
        try:
            (Path(unfinished) / "digits").rename(folder)
        except OSError:
            if not folder.is_dir():  # another demo may have written it meanwhile
                raise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = __doc__
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        help="folder of data and results. Default: %(default)s",
    )
    whole: dict[str, Any] = {"type": at_least(int, 1), "metavar": "N"}
    add("--epochs", **whole, default=5, help="epochs of every student. Default: %(default)s")
    add("--teacher_epochs", **whole, default=10, help="epochs of the teacher. Default: %(default)s")
    add("--seeds", **whole, default=3, help="runs of each method. Default: %(default)s")
    add("--host", metavar="HOST", help=HOST_HELP)


def main(args: argparse.Namespace) -> None:
    """Runs the demo.

    Raises:
        UserError: there is no such host, or the folder cannot be written.
    """
    hosts.locate(args.host)  # before anything is written
    try:
        write_digits(args.out / "digits")
    except OSError as error:
        raise UserError(f"--out {args.out} cannot be written: {error.strerror}") from error

    from solo_rekd.compare.main import main as compare
    from solo_rekd.utils.cores import cores

    jobs = min(2, cores())
    folders = ["--data", str(args.out / "digits"), "--out", str(args.out)]
    length = ["--epochs", str(args.epochs), "--teacher_epochs", str(args.teacher_epochs)]
    length += ["--seeds", str(args.seeds), "--jobs", str(jobs)]
    title = ["--title", "Handwritten digits"]
    host = [] if args.host is None else ["--host", args.host]
    compare([*folders, *length, *title, *host, *COMPARISON.split(), "--", *HOST_FLAGS.split()])
