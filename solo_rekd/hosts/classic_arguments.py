"""What the plug-in adds between the classic host's command line and its run."""

import dataclasses
import functools
import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from solo import methods
from solo.utils import auto_resumer, classification_dataloader
from solo.utils.auto_resumer import AutoResumer
from torch import nn

from solo_rekd.errors import UserError, refuse
from solo_rekd.files import read_json
from solo_rekd.hosts import classic_backbones, classic_help
from solo_rekd.hosts.classic_images import read_images
from solo_rekd.hosts.evaluation import FIXED_SIDES, before_crop, evaluation_pipeline
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.student import load_student
from solo_rekd.teachers.formats import CLASSIC_HOST

_log = logging.getLogger("solo_rekd")

HOST_RUN_SETTINGS = tuple(AutoResumer.SHOULD_MATCH)
# what the host's own script does, without a flag for it
HOSTS_OWN = {"seed": classic_help.HOST_SEED, "stem": "auto"}


def has_dali() -> bool:
    """Whether the host could import its DALI loaders."""
    return hasattr(methods, "dali")


def honour_crop_size(args: Namespace) -> None:
    """Makes evaluation on an image folder use `--crop_size`, `--mean` and `--std`."""
    classification_dataloader.build_custom_pipeline = functools.partial(
        evaluation_pipeline, args.crop_size[0], args.mean, args.std
    )
    if has_dali():
        from solo_rekd.hosts import classic_dali

        side = args.crop_size[0]
        classic_dali.evaluate_at(side, before_crop(side), args.mean, args.std)


def fix_side(args: Namespace) -> None:
    """Makes `--crop_size` of an evaluation the side that its images have, whatever was asked."""
    args.crop_size = [FIXED_SIDES.get(args.dataset, args.crop_size[0])]


def prepare_dali(args: Namespace) -> None:
    """Checks `--dali` before anything runs, and loads on the CPU where there is no GPU.

    Raises:
        UserError: DALI is not installed, or a setting does not go with it.
    """
    if not args.dali:
        return
    if not has_dali():
        raise UserError("--dali needs NVIDIA DALI: pip install 'solo-rekd[dali]'")
    if args.dali_device not in ("cpu", "gpu"):
        raise refuse("dali_device", args.dali_device, "cpu, gpu")
    if args.train_dir is None:
        raise refuse("train_dir", args.train_dir, "a folder of data_dir with --dali")
    if args.dali_device == "gpu" and not torch.cuda.is_available():
        _log.warning("--dali_device gpu: no GPU here, so DALI loads on the CPU")
        args.dali_device = "cpu"


def tell_runs_apart(args: Namespace) -> None:
    """Makes `--auto_resume` go on only from a run with the same seed, stem and objective.

    The host compares few settings, none of a method: not the teacher, not the dictionary.
    """
    ours = OBJECTIVES.get(args.method)
    names = [option.name for option in dataclasses.fields(ours.config_class)] if ours else []
    AutoResumer.SHOULD_MATCH = [*HOST_RUN_SETTINGS, *HOSTS_OWN, *names]
    auto_resumer.Namespace = functools.partial(Namespace, **HOSTS_OWN)  # of what a run tells


def finish_pretrain(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of pretraining."""

    @functools.wraps(parse)
    def parse_pretrain() -> Namespace:
        classic_help.show_help()
        args = parse()
        for name, value in HOSTS_OWN.items():
            vars(args).setdefault(name, value)  # our commands have flags for these
        prepare_dali(args)
        ours = args.method in OBJECTIVES or classic_backbones.is_ours(args.encoder)
        if ours:
            honour_crop_size(args)
        read_images(ours, args)
        tell_runs_apart(args)
        return args

    return parse_pretrain


def finish_linear(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of linear evaluation, for the host's script.

    That loads a checkpoint of its own without looking at what matched, so it is checked here,
    before anything runs.
    """

    @functools.wraps(parse)
    def parse_linear() -> Namespace:
        args = complete_linear(parse())
        load_encoder(args, only=CLASSIC_HOST)
        run = read_json(Path(args.pretrained_feature_extractor).with_name("args.json")) or {}
        read_images(
            run.get("method") in OBJECTIVES or classic_backbones.is_ours(args.encoder), args
        )
        return args

    return parse_linear


def complete_linear(args: Namespace) -> Namespace:
    """Prepares the parsed arguments of linear evaluation, and returns them.

    Raises:
        UserError: no checkpoint is given, or see `prepare_dali`.
    """
    if args.pretrained_feature_extractor is None:
        raise UserError("--pretrained_feature_extractor, the checkpoint to evaluate, is missing")
    fix_side(args)
    prepare_dali(args)
    if classic_backbones.is_ours(args.encoder):
        honour_crop_size(args)
    classic_backbones.let_through(args)
    return args


def load_encoder(args: Namespace, only: str | None = None) -> nn.Module:
    """Builds the encoder that was asked for and loads its weights from the checkpoint.

    Args:
        args: the parsed arguments.
        only: the one format to accept, see `load_student`.

    Raises:
        UserError: the checkpoint cannot be read or lacks any weight of the encoder.
    """
    encoder = classic_backbones.build_encoder(args.encoder, args.backbone_args)
    name = args.backbone_args.get("plugin_encoder", args.encoder)
    load_student(args.pretrained_feature_extractor, name, encoder, only)
    return encoder
