"""The classic host's jobs as functions: its wheel has the parts but not the scripts.

Each takes the host's flags as a list of strings, builds what the host's script builds, from the
host's own parts, and returns the figures it reports.
"""

import argparse
import functools
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from solo.args import dataset, setup, utils
from solo.methods import METHODS
from solo.methods.base import BaseMethod
from solo.methods.linear import LinearModel
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer
from solo.utils.knn import WeightedKNNClassifier
from tqdm import tqdm

from solo_rekd.errors import UserError, refuse
from solo_rekd.hosts import classic_arguments, classic_backbones
from solo_rekd.hosts.classic_loaders import (
    classification_loaders,
    plain_loaders,
    pretrain_loader,
    validation_loader,
    with_dali,
)
from solo_rekd.hosts.classic_progress import BatchCount, TotalProgress
from solo_rekd.hosts.distilled import refuse_empty_epoch

HOST_SEED = 5  # what the host's pretraining script fixes


@contextmanager
def command_line(argv: list[str]) -> Iterator[None]:
    """Lets the host's parsers, which read sys.argv, see `argv`."""
    kept = sys.argv
    sys.argv = [kept[0], *argv]
    try:
        yield
    finally:
        sys.argv = kept


def flag(argv: list[str], name: str) -> str | None:
    """The value of one flag in `argv`, which is read before the host's parser knows its flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}")
    return getattr(parser.parse_known_args(argv)[0], name)


def path_errors_in_one_line(job: Callable[[list[str]], dict]) -> Callable[[list[str]], dict]:
    """Makes a folder or file that is not there the user's mistake, which it is."""

    @functools.wraps(job)
    def run(argv: list[str]) -> dict[str, Any]:
        try:
            return job(argv)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(str(error)) from None

    return run


def parse(argv: list[str], host_parser: Callable[[], Namespace]) -> Namespace:
    """Parses the host's flags and ours that the host lacks (`--seed`)."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--seed", type=int, default=HOST_SEED)
    ours, rest = own.parse_known_args(argv)
    if flag(argv, "dataset") == "custom" and flag(argv, "train_dir") is None:
        raise UserError("--dataset custom needs --train_dir, a folder of --data_dir")
    with command_line(rest):
        args = host_parser()
    args.seed = ours.seed
    classic_arguments.honour_crop_size(args)
    return args


def make_trainer(args: Namespace, title: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The host's trainer, with one progress bar over the whole run."""
    logger = None
    if args.wandb:
        logger = pl.loggers.WandbLogger(
            name=args.name, project=args.project, entity=args.entity, offline=args.offline
        )
        logger.log_hyperparams(args)
        callbacks.append(pl.callbacks.LearningRateMonitor(logging_interval="epoch"))
    if args.enable_progress_bar:
        callbacks.append(TotalProgress(title))
    return pl.Trainer.from_argparse_args(
        args,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def resume_from(args: Namespace) -> str | None:
    """The checkpoint to go on from: the one given, or with `--auto_resume` the newest that fits."""
    if args.resume_from_checkpoint is None and args.auto_resume:
        folder = os.path.join(args.checkpoint_dir, args.method)
        found = AutoResumer(folder, max_hours=args.auto_resumer_max_hours).find_checkpoint(args)
        return str(found) if found else None
    return args.resume_from_checkpoint


@path_errors_in_one_line
def pretrain(argv: list[str]) -> dict[str, Any]:
    """Pretrains: the host's `main_pretrain.py`.

    Args:
        argv: the flags of the host's script, and `--seed` (default 5, as the script fixes).

    Returns:
        seconds, images_per_second, the checkpoint's path (None without `--save_checkpoint`), and
        the last value of every logged metric.

    Raises:
        UserError: a setting is not allowed.
    """
    method = flag(argv, "method")
    names = sorted(set(METHODS) - {"base", "linear"})
    if method is None or method not in names:
        raise refuse("method", method, names)

    args = parse(argv, setup.parse_args_pretrain)
    pl.seed_everything(args.seed)
    model = with_dali(args, METHODS[method], "PretrainABC")(**vars(args))
    counter = BatchCount()
    callbacks: list[pl.Callback] = [counter]
    checkpointer = None
    if args.save_checkpoint:
        checkpointer = Checkpointer(
            args,
            logdir=os.path.join(args.checkpoint_dir, method),
            frequency=args.checkpoint_frequency,
        )
        callbacks.append(checkpointer)
    args.resume_from_checkpoint = resume_from(args)
    trainer = make_trainer(args, f"{method} {args.encoder}", callbacks)
    train_loader = None if args.dali else pretrain_loader(args)

    started = time.perf_counter()
    trainer.fit(model, train_loader, validation_loader(args))
    refuse_empty_epoch(model)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "images_per_second": counter.batches * args.batch_size * trainer.world_size / seconds,
        "checkpoint": checkpointer and str(checkpointer.last_ckpt),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }


@path_errors_in_one_line
def linear(argv: list[str]) -> dict[str, Any]:
    """Evaluates a checkpoint by a linear classifier on its frozen features: `main_linear.py`.

    Args:
        argv: the flags of the host's script, and `--seed`.

    Returns:
        top1 and top5 in percent on the validation images, of the last epoch, and the protocol.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the encoder.
    """
    # the host's bare parser: what the plug-in wraps it in is for the host's script
    args = classic_arguments.complete_linear(parse(argv, setup.parse_args_linear.__wrapped__))
    pl.seed_everything(args.seed)
    backbone = classic_arguments.load_encoder(args)
    model = with_dali(args, LinearModel, "ClassificationABC")(backbone, **vars(args))
    callbacks: list[pl.Callback] = []
    if args.save_checkpoint:
        folder = os.path.join(args.checkpoint_dir, "linear")
        callbacks.append(Checkpointer(args, logdir=folder, frequency=args.checkpoint_frequency))
    trainer = make_trainer(args, "linear evaluation", callbacks)
    train_loader, val_loader = classification_loaders(args)
    # the host validates without DALI
    trainer.fit(model, None if args.dali else train_loader, val_loader)
    refuse_empty_epoch(model)
    return {
        "top1": float(trainer.callback_metrics["val_acc1"]),
        "top5": float(trainer.callback_metrics["val_acc5"]),
        "protocol": (
            f"linear classifier on frozen features, {args.max_epochs} epochs, {args.optimizer} "
            f"lr {args.lr:g}, batch {args.batch_size}, random resized crops of "
            f"{args.crop_size[0]} px, last epoch"
        ),
    }


@path_errors_in_one_line
def knn(argv: list[str]) -> dict[str, Any]:
    """Evaluates a checkpoint by weighted kNN on its frozen features (arXiv 1805.01978).

    Args:
        argv: the data flags of linear evaluation, `--k` and `--temperature`.

    Returns:
        top1 and top5 in percent on the validation images, and the protocol.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the encoder.
    """
    args = parse(argv, parse_knn)
    encoder = classic_arguments.load_encoder(args)
    encoder.eval().to(device := "cuda" if torch.cuda.is_available() else "cpu")
    features = {}
    for split, loader in plain_loaders(args).items():
        parts = []
        with torch.no_grad():
            for images, labels in tqdm(loader, desc=f"features of {split}", unit="batch"):
                parts.append((torch.nn.functional.normalize(encoder(images.to(device))), labels))
        features[split] = [torch.cat(column).cpu() for column in zip(*parts, strict=True)]
    classifier = WeightedKNNClassifier(k=args.k, T=args.temperature, distance_fx="cosine")
    classifier.update(train_features=features["train"][0], train_targets=features["train"][1])
    classifier.update(test_features=features["val"][0], test_targets=features["val"][1])
    top1, top5 = classifier.compute()
    return {
        "top1": top1,
        "top5": top5,
        "protocol": (
            f"weighted kNN, cosine, k {args.k}, temperature {args.temperature:g}, "
            f"{args.crop_size[0]} px, without augmentation"
        ),
    }


def parse_knn() -> Namespace:
    """Parses the flags of `knn`, the data flags being the host's."""
    parser = argparse.ArgumentParser(prog="solo-rekd knn")
    parser.add_argument("--pretrained_feature_extractor", required=True, help="the checkpoint")
    parser.add_argument("--encoder", choices=BaseMethod._SUPPORTED_ENCODERS, required=True)
    parser.add_argument("--k", type=int, default=20, help="neighbours. Default: %(default)s")
    parser.add_argument(
        "--temperature", type=float, default=0.07, help="of the votes. Default: %(default)s"
    )
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--num_workers", type=int, default=4)
    dataset.dataset_args(parser)
    dataset.linear_augmentations_args(parser)
    dataset.custom_dataset_args(parser)
    args = parser.parse_args()
    # what the host's set-up of linear evaluation reads besides
    args.optimizer, args.gpus, args.patch_size = "sgd", "0", 16
    utils.additional_setup_linear(args)
    classic_backbones.let_through(args)
    return args
