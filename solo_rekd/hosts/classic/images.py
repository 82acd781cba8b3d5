"""How a run of ours reads its images in the classic host, and how many classes they have."""

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from solo.args import setup
from solo.utils import classification_dataloader, pretrain_dataloader

from solo_rekd.hosts.shared import data_sets
from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.images.files import list_classes


def allow_any_photos() -> None:
    """Lets the host's parser take a text file of photos, where it counts the classes of a folder.

    `read_images` counts them anew.
    """
    RUN.wrap(setup, "additional_setup_pretrain", count_no_classes)


def count_no_classes(prepare: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    """Keeps the host's preparation of its arguments from counting the classes of a file."""

    @functools.wraps(prepare)
    def run(args: Namespace) -> None:
        train = args.train_dir
        listed = args.dataset == "custom" and args.no_labels and train is not None
        if listed and (Path(args.data_dir) / train).is_file():
            args.train_dir = Path(train).parent
        prepare(args)
        args.train_dir = train

    return run


def read_images(args: Namespace) -> None:
    """Prepares the host for the images of a run of ours.

    Args:
        args: the parsed arguments; `num_classes` is counted again, because the host takes files
            and hidden folders for classes too.
    """
    data_sets.choose(pretrain_dataloader, classification_dataloader)
    if args.dataset == "custom":
        folder = Path(args.data_dir) / args.train_dir
        unlabelled = getattr(args, "no_labels", False)
        args.num_classes = 1 if unlabelled else max(1, len(list_classes(folder)))
