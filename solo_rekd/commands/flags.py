"""The flags of pretraining and evaluation, the same for every host; torch is not imported."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.config import AUTO, STEMS, STUDENT_CHECKPOINT, add_speed_flags
from solo_rekd.hosts import HOST_HELP
from solo_rekd.hosts.jobs import DEFAULT_SEED
from solo_rekd.hosts.shared.limits import Limits
from solo_rekd.images.data_sets import CUSTOM, FOLDERS, NAMES, SMALL_IMAGE
from solo_rekd.images.decoded.flags import OFF, add_flags
from solo_rekd.utils.errors import UserError, refuse, refuse_beyond

SEEDS = 2**32  # number of possible seeds

Add = Callable[..., argparse.Action]


def group(parser: argparse.ArgumentParser, title: str) -> Add:
    """Adds a group of flags, and returns the function that adds a flag to it."""
    return parser.add_argument_group(title).add_argument


def add_images(parser: argparse.ArgumentParser, *, judged: bool) -> None:
    """Adds the flags for the images.

    Args:
        parser: parser to add them to.
        judged: whether the images are for an evaluation, whose defaults are the training's.
    """
    default = "what the checkpoint was trained with, else the host's" if judged else "the host's"
    add = group(parser, "images")
    add("--dataset", choices=NAMES, required=True, help="custom: your own image folders")
    add(
        "--data_dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds --train_dir and --val_dir",
    )
    add(
        "--train_dir",
        type=Path,
        metavar="NAME",
        help="training images in DIR/NAME/<class>. Default: DATASET/train",
    )
    add(
        "--val_dir",
        type=Path,
        metavar="NAME",
        help="validation images in DIR/NAME/<class>. Default: "
        + ("DATASET/val" if judged else "none for custom, else DATASET/val"),
    )
    colours: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
    add("--mean", **colours, help=f"channel means, in [0, 1]. Default: {default}")
    add("--std", **colours, help=f"channel standard deviations, in [0, 1]. Default: {default}")
    add("--num_workers", type=int, metavar="N", help="processes that load images. Default: 4")
    add_flags(add, OFF)
    add(
        "--skip_broken",
        action="store_true",
        help="decode the images of class folders once before the run, and leave those out that "
        "cannot be decoded: they are named and counted. Default: the first that is met ends the "
        "run",
    )
    if judged:
        add(
            "--crop_size",
            type=int,
            metavar="N",
            help=f"side of the images [px]. Default: {default}",
        )
        add(
            "--resize_to",
            type=int,
            metavar="N",
            help="side to resize the images to then [px], as teacher_size does. Default: none",
        )


def prepare_images(args: argparse.Namespace, *, judged: bool) -> None:
    """Leaves out the broken images of a run and decodes the others, if the flags ask for it.

    Args:
        args: the arguments of `add_images`.
        judged: as in `add_images`.

    Raises:
        UserError: a folder of images is not there, an image cannot be decoded, the folder for
            decoded images cannot be written, or there are no class folders to leave broken images
            out of.
    """
    if args.dataset in FOLDERS:
        _refuse_folders(args, judged)
    if args.skip_broken:
        _skip_broken(args)
    if args.dataset not in FOLDERS or (args.decoded_images, args.transforms) == (OFF, AUTO):
        return
    from solo_rekd.images.decoded.chosen import prepare_folders  # imports torch

    labelled = not getattr(args, "no_labels", False)
    prepare_folders(folders(args, judged=judged), labelled, args.decoded_images, args.transforms)


def _refuse_folders(args: argparse.Namespace, judged: bool) -> None:
    from solo_rekd.images.folders import refuse_folders, refuse_one_class  # imports torch

    train, val = folders(args, judged=judged)
    for name, path in (("train_dir", train), ("val_dir", val)):
        if path is not None and not Path(path).exists():
            raise refuse(name, path, "a folder that exists, in --data_dir")
        unlabelled = name == "train_dir" and getattr(args, "no_labels", False)
        # a file of ImageNet may be main's HDF5
        if path is not None and args.dataset == CUSTOM and Path(path).is_file() and not unlabelled:
            raise refuse(name, path, "a folder of class folders, and no file")
    if getattr(args, "no_labels", False):
        return
    refuse_folders({"train_dir": train, "val_dir": val})
    if judged and Path(train).is_dir():
        refuse_one_class("train_dir", train)


def _skip_broken(args: argparse.Namespace) -> None:
    if args.dataset not in FOLDERS:
        limit = f"none with --dataset {args.dataset}: it is for images in class folders"
        raise refuse("skip_broken", True, limit)
    if getattr(args, "no_labels", False) and args.val_dir is None:
        limit = "none with --no_labels, where another photo takes the place of a broken one"
        raise refuse("skip_broken", True, limit)
    from solo_rekd.images.broken import skip_broken  # imports torch

    skip_broken()


def add_network(parser: argparse.ArgumentParser, *, judged: bool) -> None:
    """Adds the flags for the network; `judged` is as in `add_images`."""
    add = group(parser, "network (names: solo-rekd list)")
    if judged:
        add(
            "--pretrained_feature_extractor",
            required=True,
            metavar="FILE",
            help="checkpoint of the network, in any format of solo-rekd list",
        )
    add(
        "--encoder",
        required=not judged,
        metavar="NAME",
        help="network to train"
        if not judged
        else "name of the network. Default: as the file records",
    )
    add(
        "--stem",
        choices=STEMS,
        default="auto",
        help="first layers, for small images or for ImageNet's. Default: auto, "
        + (
            "those it was trained with"
            if judged
            else f"small up to a --crop_size of {SMALL_IMAGE} px"
        ),
    )
    if not judged:
        add(
            "--student_checkpoint",
            metavar="FILE",
            help=f"{STUDENT_CHECKPOINT}. Default: random weights",
        )


def add_optimizer(parser: argparse.ArgumentParser, lr: str, schedule: str) -> None:
    """Adds the flags of the optimizer.

    Args:
        parser: parser to add them to.
        lr: what the learning rate refers to.
        schedule: default schedule.
    """
    add = group(parser, "optimizer")
    add("--optimizer", required=True, metavar="NAME", help="sgd, lars, adam or adamw")
    add("--lars", action="store_true", help="the same as --optimizer lars")
    add("--lr", type=float, default=0.3, metavar="X", help=f"learning rate {lr}. Default: 0.3")
    add("--weight_decay", type=float, metavar="X", help="L2 penalty. Default: the host's, 1e-4")
    add(
        "--batch_size",
        type=int,
        default=128,
        metavar="N",
        help="images per process. Default: 128",
    )
    add(
        "--max_epochs",
        type=int,
        default=100,
        metavar="N",
        help="length of the training. Default: 100",
    )
    add(
        "--scheduler",
        default=schedule,
        metavar="NAME",
        help=f"warmup_cosine, cosine, step or none. Default: {schedule}",
    )
    add(
        "--lr_decay_steps",
        type=int,
        nargs="+",
        metavar="N",
        help="epochs at which --scheduler step lowers the learning rate",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for a run: its host, its seed and its files."""
    add = group(parser, "run")
    add("--host", metavar="HOST", help=HOST_HELP)
    add(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help="decides the initial weights, the order of the images and, with --num_workers of 1 "
        f"or more, their augmentation. Default: {DEFAULT_SEED}, the hosts'",
    )
    add_speed_flags(add)
    add("--save_checkpoint", action="store_true", help="keep a checkpoint per epoch")
    add(
        "--checkpoint_dir",
        type=Path,
        default=Path("trained_models"),
        metavar="DIR",
        help="folder of the checkpoints. Default: %(default)s",
    )
    add(
        "--enable_progress_bar",
        type=yes_or_no,
        nargs="?",
        const=True,
        default=True,
        metavar="YES",
        help="whether to show a progress bar. Default: True",
    )


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags of `add_speed_flags` that are given, for the `host` field of a job."""
    asked = {"memory_format": args.memory_format, "compile": args.compile}
    return {name: value for name, value in asked.items() if value not in (AUTO, False)}


def yes_or_no(text: str) -> bool:
    """Reads True or False."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def folders(args: argparse.Namespace, *, judged: bool) -> tuple[str, str | None]:
    """Returns the folders of the training and validation images.

    Args:
        args: the arguments of `add_images`.
        judged: as in `add_images`.

    Raises:
        UserError: `--dataset custom` lacks the name of a folder.
    """
    train, val, dataset = args.train_dir, args.val_dir, args.dataset
    for name, folder in (("train_dir", train), ("val_dir", val)):
        if folder is None and dataset == CUSTOM and (judged or name == "train_dir"):
            raise UserError(f"--dataset custom needs --{name}, a folder of --data_dir")
    if val is None and (judged or dataset not in FOLDERS):
        val = Path(dataset, "val")
    return (
        str(args.data_dir / (train or Path(dataset, "train"))),
        None if val is None else str(args.data_dir / val),
    )


def refuse_numbers(values: Mapping[str, Any], limits: Limits) -> None:
    """Raises a UserError for a number outside the limits for its name.

    Args:
        values: numbers or lists of numbers by name; other values are ignored.
        limits: the least and the largest number by name.
    """
    for name, value in values.items():
        if name == "seed" and value not in range(SEEDS):
            raise refuse("seed", value, f"a whole number from 0 to {SEEDS - 1}")
        for number in value if isinstance(value, list | tuple) else (value,):
            if name in limits and isinstance(number, int | float):
                refuse_beyond(name, number, *limits[name])
