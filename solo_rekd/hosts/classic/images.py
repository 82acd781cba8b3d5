"""How a run of ours reads its images in the classic host, and how many classes they have."""

from argparse import Namespace
from pathlib import Path

from solo.utils import classification_dataloader, pretrain_dataloader

from solo_rekd.hosts.shared import data_sets
from solo_rekd.images.files import list_classes


def read_images(args: Namespace) -> None:
    """Prepares the host for the images of a run of ours.

    Args:
        args: the parsed arguments; `num_classes` is counted again, because the host takes files
            and hidden folders for classes too.
    """
    data_sets.choose(pretrain_dataloader, classification_dataloader)
    if args.dataset == "custom":
        args.num_classes = max(1, len(list_classes(Path(args.data_dir) / args.train_dir)))
