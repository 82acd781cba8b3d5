"""`--help` of a method, which the classic host's own parser never reaches."""

from argparse import ArgumentParser

import pytorch_lightning as pl
from solo.args import dataset
from solo.methods import METHODS
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer


def show_help() -> None:
    """Shows every flag of pretraining and exits, if `--help` and a method are on the command line.

    The host's parser looks at the command line before it knows the method's flags, and stops at
    `--help` there.
    """
    peek = ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--method")
    peek.add_argument("-h", "--help", action="store_true")
    seen, _ = peek.parse_known_args()
    if not seen.help or seen.method not in METHODS:
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
