"""The classic host's data loading, for the commands: built as the host's scripts build it."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from solo import methods
from solo.utils import classification_dataloader, pretrain_dataloader
from torch.utils.data import DataLoader

from solo_rekd.hosts.shared.order import seed_of_epoch
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.folders import refuse_one_class, refuse_other_classes
from solo_rekd.utils.errors import UserError


def with_dali(args: Namespace, model_class: type, loaders: str) -> type:
    """Adds the host's DALI loading to `model_class` where `--dali` asks for it."""
    if not args.dali:
        return model_class
    return type(f"Dali{model_class.__name__}", (model_class, getattr(methods.dali, loaders)), {})


def validation_loader(args: Namespace) -> Any:
    """The host's validation loader, or None where there is no labelled validation data."""
    in_folders = args.dataset in FOLDERS
    if args.no_labels or (args.val_dir is None and in_folders):
        return None
    return classification_loaders(args)[1]


def refuse_no_validation(args: Namespace) -> None:
    """Raises a UserError where an image folder lacks `--val_dir`: the host would make a path up."""
    if args.dataset == "custom" and args.val_dir is None:
        raise UserError("--dataset custom needs --val_dir, a folder of --data_dir")


def classification_loaders(args: Namespace) -> tuple[DataLoader, DataLoader]:
    """The host's loaders of labelled images, for training and validation.

    Raises:
        UserError: there is no validation folder, or its classes are others.
    """
    refuse_no_validation(args)
    train, val = classification_dataloader.prepare_data(
        args.dataset,
        data_dir=args.data_dir,
        train_dir=args.train_dir,
        val_dir=args.val_dir,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
    )
    if args.dataset in FOLDERS:
        refuse_one_class("train_dir", Path(args.data_dir) / args.train_dir)
    classes = train.dataset.classes, val.dataset.classes
    refuse_other_classes(*classes, (args.train_dir, args.val_dir))
    return train, val


def pretrain_loader(args: Namespace) -> Any:
    """The host's loader of several augmented crops per image."""
    kwargs = args.transform_kwargs if args.unique_augs > 1 else [args.transform_kwargs]
    transform = pretrain_dataloader.prepare_n_crop_transform(
        [pretrain_dataloader.prepare_transform(args.dataset, **each) for each in kwargs],
        num_crops_per_aug=args.num_crops_per_aug,
    )
    return pretrain_dataloader.prepare_dataloader(
        pretrain_images(args, transform), batch_size=args.batch_size, num_workers=args.num_workers
    )


def pretrain_images(args: Namespace, transform: Any) -> Any:
    """The host's data set of pretraining; `transform` makes crops of an image."""
    return pretrain_dataloader.prepare_datasets(
        args.dataset,
        transform,
        data_dir=args.data_dir,
        train_dir=args.train_dir,
        no_labels=args.no_labels,
    )


class DataOrder(pl.Callback):
    """Makes the order of the images, and the seeds of the loader's workers, the run's seed's alone.

    Both are drawn anew each epoch from the seed and the epoch's number. So every method sees the
    same images in the same order, with one worker or more in the same crops, and a resumed run
    continues as if it had not stopped. Several processes share out one order, and each draws crops
    of its own. Without workers the crops share the methods' random numbers.

    Args:
        seed: of the run, at least 0.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.order, self.crops = torch.Generator(), torch.Generator()

    def rule(self, loader: DataLoader) -> DataLoader:
        """Puts a shuffling loader under this order, and returns it."""
        loader.generator = self.crops
        loader.sampler.generator = self.order  # type: ignore[attr-defined]
        return loader

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draws the epoch's order."""
        first, own = (
            seed_of_epoch(self.seed, trainer.current_epoch, rank)
            for rank in (0, trainer.global_rank)
        )
        self.crops.manual_seed(own)
        self.order.manual_seed(first)
        # for the order of main, whose loader draws this from the same generator first
        torch.empty((), dtype=torch.int64).random_(generator=self.order)
