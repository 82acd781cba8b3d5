"""`--help`: of a method, which the classic host's own parser never reaches, and of our flags."""

from argparse import SUPPRESS, ArgumentParser

import pytorch_lightning as pl
from solo.args import dataset
from solo.methods import METHODS
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer

from solo_rekd.config import STEMS, STUDENT_CHECKPOINT, add_speed_flags
from solo_rekd.hosts.shared.ownership import has_our_run
from solo_rekd.images.data_sets import SMALL_IMAGE
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import OneLineParser

HOST_SEED = 5  # what the host's pretraining script fixes


def own_flags(*, pretraining: bool = True) -> ArgumentParser:
    """The flags that our commands have beside the host's.

    Args:
        pretraining: whether a network is trained, which can start from a file's weights.
    """
    parser = OneLineParser(add_help=False, allow_abbrev=False, usage=SUPPRESS)
    group = parser.add_argument_group("flags of solo-rekd beside the host's")
    group.add_argument(
        "--seed",
        type=int,
        default=HOST_SEED,
        help="decides the initial weights, the order of the images and, with --num_workers of 1 "
        "or more, their augmentation. Default: %(default)s, as in the host",
    )
    group.add_argument(
        "--stem",
        choices=STEMS,
        default="auto",
        help="first layers of the encoder: for small images, or for ImageNet's. "
        "Default: %(default)s, for resnet18 and resnet50 the host's choice (small with CIFAR, "
        f"imagenet with --dataset custom), for ours small up to a --crop_size of {SMALL_IMAGE} px",
    )
    add_speed_flags(group.add_argument)
    if pretraining:
        group.add_argument("--student_checkpoint", metavar="FILE", help=STUDENT_CHECKPOINT)
    return parser


def show_help() -> None:
    """Shows every flag of pretraining and exits, if `--help` and a method of ours are asked for.

    The host's parser looks at the command line before it knows the method's flags, and stops at
    `--help` there.
    """
    peek = ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--method")
    peek.add_argument("-h", "--help", action="store_true")
    seen, _ = peek.parse_known_args()
    if not seen.help or seen.method not in (METHODS if has_our_run() else OBJECTIVES):
        return
    parser = ArgumentParser()
    dataset.dataset_args(parser)
    dataset.augmentations_args(parser)
    dataset.custom_dataset_args(parser)
    pl.Trainer.add_argparse_args(parser)
    parser.add_argument("--method")
    parser = METHODS[seen.method].add_model_specific_args(parser)
    parser.add_argument("--save_checkpoint", action="store_true")
    parser.add_argument("--auto_resume", action="store_true")
    parser = AutoResumer.add_autoresumer_args(Checkpointer.add_checkpointer_args(parser))
    parser.parse_args(["--help"])
