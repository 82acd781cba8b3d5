"""What the plug-in adds between the classic host's command line and its run."""

import functools
import logging
from argparse import Namespace
from collections.abc import Callable, Sequence

from solo.utils import classification_dataloader
from torch import nn
from torchvision import transforms

from solo_rekd.backbones import SMALL_IMAGE
from solo_rekd.hosts import classic_backbones
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.student import load_student

log = logging.getLogger("solo_rekd")


def evaluation_pipeline(
    crop_size: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, transforms.Compose]:
    """Training and validation transforms of linear evaluation on an image folder.

    The host fixes them at 224 px whatever `--crop_size` says, and names `build_custom_pipeline`
    as the place to change that. At 224 px these are the host's own.

    Args:
        crop_size: side of the images in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].

    Returns:
        The host's form: `T_train` and `T_val`.
    """
    tail = [transforms.ToTensor(), transforms.Normalize(mean=tuple(mean), std=tuple(std))]
    # 256 for 224, as on ImageNet; a small image has no border to spare
    resized = crop_size if crop_size <= SMALL_IMAGE else crop_size * 256 // 224
    return {
        "T_train": transforms.Compose(
            [
                transforms.RandomResizedCrop(size=crop_size, scale=(0.08, 1.0)),
                transforms.RandomHorizontalFlip(),
                *tail,
            ]
        ),
        "T_val": transforms.Compose(
            [transforms.Resize(resized), transforms.CenterCrop(crop_size), *tail]
        ),
    }


def honour_crop_size(args: Namespace) -> None:
    """Makes evaluation on an image folder use `--crop_size`, `--mean` and `--std`."""
    classification_dataloader.build_custom_pipeline = functools.partial(
        evaluation_pipeline, args.crop_size[0], args.mean, args.std
    )


def finish_pretrain(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of pretraining."""

    @functools.wraps(parse)
    def parse_pretrain() -> Namespace:
        args = parse()
        if args.method in OBJECTIVES or classic_backbones.is_ours(args.encoder):
            honour_crop_size(args)
        return args

    return parse_pretrain


def finish_linear(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of linear evaluation.

    The host's script loads a checkpoint without looking at what matched, so it is checked here,
    before anything runs.
    """

    @functools.wraps(parse)
    def parse_linear() -> Namespace:
        args = parse()
        if classic_backbones.is_ours(args.encoder):
            honour_crop_size(args)
        classic_backbones.let_through(args)
        load_encoder(args)
        return args

    return parse_linear


def load_encoder(args: Namespace) -> nn.Module:
    """Builds the encoder that was asked for and loads its weights from the checkpoint.

    Raises:
        UserError: the checkpoint cannot be read or lacks any weight of the encoder.
    """
    encoder = classic_backbones.build_encoder(args.encoder, args.backbone_args)
    name = args.backbone_args.get("plugin_encoder", args.encoder)
    load_student(args.pretrained_feature_extractor, name, encoder)
    return encoder
