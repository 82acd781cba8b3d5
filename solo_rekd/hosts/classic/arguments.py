"""What the plug-in adds between the classic host's command line and its run."""

import functools
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from solo import methods
from solo.args import setup
from solo.utils import classification_dataloader
from torch import nn

from solo_rekd.checkpoints.formats import CLASSIC_HOST
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_record import read_settings
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.checkpoints.student import STARTED, choose_stem, load_student
from solo_rekd.hosts.classic import backbones, help
from solo_rekd.hosts.classic.images import read_images
from solo_rekd.hosts.classic.run import HOSTS_OWN, note_run, settle_lengths
from solo_rekd.hosts.names import DALI_DEVICES
from solo_rekd.hosts.shared import changes, speed
from solo_rekd.hosts.shared.checks import refuse_dali
from solo_rekd.hosts.shared.ownership import is_claimed
from solo_rekd.images.data_sets import FIXED_SIDES, needs_size
from solo_rekd.images.transforms import before_crop, evaluation_pipeline
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError, install_excepthook, refuse

_log = logging.getLogger("solo_rekd")

TRAINED = ("crop_size", "mean", "std")  # an evaluation takes these over from the training


def has_dali() -> bool:
    """Whether the host could import its DALI loaders."""
    return hasattr(methods, "dali")


def begin(ours: bool) -> None:
    """Begins a run: see `changes.begin`; our runs load with our DALI classes, if DALI is there."""
    changes.begin(ours)
    if ours and has_dali():
        from solo_rekd.hosts.classic import dali

        dali.apply()


def honour_crop_size(args: Namespace) -> None:
    """Makes evaluation on an image folder use `--crop_size`, `--mean`, `--std`, `--resize_to`."""
    resize_to = vars(args).get("resize_to")  # only our commands have this flag
    pipeline = functools.partial(
        evaluation_pipeline, args.crop_size[0], args.mean, args.std, resize_to
    )
    changes.RUN.set(classification_dataloader, "build_custom_pipeline", pipeline)
    if has_dali():
        from solo_rekd.hosts.classic import dali

        side = args.crop_size[0]
        dali.evaluate_at(side, before_crop(side), args.mean, args.std)


def fill_in_training(args: Namespace, argv: Sequence[str]) -> str:
    """Fills in the training's size, mean and deviation in an evaluation, where not given by flags.

    Args:
        args: parsed arguments, changed in place; those of a pretraining are not changed.
        argv: words that they were parsed from.

    Returns:
        The stem that was trained; `auto` if it is not known.

    Raises:
        UserError: the size that one of our encoders was trained at is not known.
    """
    path = vars(args).get("pretrained_feature_extractor")
    if path is None or not needs_size(args.dataset):
        return "auto"
    trained = read_student(Path(path))
    given = {name for name in TRAINED for word in argv if _may_mean(word, name)}
    for name in TRAINED:
        if name in trained and name not in given:
            value = trained[name]
            setattr(args, name, value if isinstance(value, list) else [value])
    known = "crop_size" in {*trained, *given} or not Path(path).is_file()
    if not known and backbones.is_ours(args.encoder):
        read_file(path)  # what is wrong with the file itself comes first
        raise UserError(
            f"--crop_size is missing: neither {path} nor an args.json beside it records it: "
            "give --crop_size N, the side in px of the images that the student was trained on"
        )
    return trained.get("stem", "auto") if trained.get("encoder") == args.encoder else "auto"


def _may_mean(word: str, name: str) -> bool:
    """Whether argparse can read a word as the flag `name` or its abbreviation."""
    beginning = word.partition("=")[0]
    return len(beginning) > 2 and f"--{name}".startswith(beginning)


def fix_side(args: Namespace) -> None:
    """Sets `--crop_size` of an evaluation to the fixed side of its images, whatever was asked."""
    args.crop_size = [FIXED_SIDES.get(args.dataset, args.crop_size[0])]


def prepare_dali(args: Namespace) -> None:
    """Checks `--dali` before anything runs, and loads on the CPU where there is no GPU.

    Raises:
        UserError: DALI is not installed, or a setting does not work with it.
    """
    if not args.dali:
        return
    refuse_dali(True, vars(args))
    if not has_dali():
        raise UserError("--dali needs NVIDIA DALI: pip install 'solo-rekd[dali]'")
    if args.dali_device not in DALI_DEVICES:
        raise refuse("dali_device", args.dali_device, DALI_DEVICES)
    if args.train_dir is None:
        raise refuse("train_dir", args.train_dir, "a folder of data_dir with --dali")
    if args.dali_device == "gpu" and not torch.cuda.is_available():
        _log.warning("--dali_device gpu: there is no GPU, so DALI loads on the CPU")
        args.dali_device = "cpu"


def prepare_student(args: Namespace) -> None:
    """Gives the student the stem of `--student_checkpoint`, and checks that the weights fit.

    Args:
        args: the parsed arguments of a pretraining, changed in place.

    Raises:
        UserError: the file cannot be read, or does not hold every weight of the encoder.
    """
    path, name = args.student_checkpoint, args.encoder
    if path is None:
        return
    stem = choose_stem(path, name, args.stem)
    backbones.choose_stem(args, stem)
    kwargs = args.backbone_args
    if backbones.is_ours(name):
        kwargs = backbones.backbone_args(name, args.crop_size[0], stem)
    encoder = backbones.DISPATCHED if backbones.is_ours(name) else name
    load_student(path, name, backbones.build_encoder(encoder, kwargs), key=STARTED)


def is_our_run(args: Namespace) -> bool:
    """Whether a run is ours, by its method or encoder, or because all runs of this process are."""
    method = getattr(args, "method", None)  # a linear evaluation has none
    return is_claimed() or method in OBJECTIVES or backbones.is_ours(args.encoder)


def concerns_us(args: Namespace) -> bool:
    """Whether a linear evaluation is ours, or evaluates a checkpoint of one of our methods."""
    if is_our_run(args):
        return True
    path = args.pretrained_feature_extractor
    return path is not None and read_settings(Path(path)).get("method") in OBJECTIVES


def finish_pretrain(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's pretraining parser, for its script."""

    @functools.wraps(parse)
    def parse_pretrain() -> Namespace:
        help.show_help()
        args = parse()
        ours = is_our_run(args)
        begin(ours)
        if ours:
            install_excepthook()
            for name, value in HOSTS_OWN.items():
                vars(args).setdefault(name, value)  # our commands have flags for these
            speed.note(vars(args))
            prepare_dali(args)
            honour_crop_size(args)
            read_images(args)
            settle_lengths(args)
            prepare_student(args)
            note_run(args)
        return args

    return parse_pretrain


def finish_linear(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's linear evaluation parser, for its script.

    The script loads a checkpoint without checking what matched, so it is checked here, before
    anything runs.
    """

    @functools.wraps(parse)
    def parse_linear() -> Namespace:
        args = parse()
        ours = concerns_us(args)
        begin(ours)
        if ours:
            install_excepthook()
            speed.note({})
            fill_in_training(args, sys.argv[1:])
            args = complete_linear(args)
            load_encoder(args, only=CLASSIC_HOST)
            read_images(args)
        return args

    return parse_linear


def apply() -> None:
    """Replaces both parsers in the host."""
    changes.ENTRIES.wrap(setup, "parse_args_pretrain", finish_pretrain)
    changes.ENTRIES.wrap(setup, "parse_args_linear", finish_linear)


def complete_linear(args: Namespace) -> Namespace:
    """Prepares the parsed arguments of linear evaluation, and returns them.

    Raises:
        UserError: no checkpoint is given, or see `prepare_dali`.
    """
    if args.pretrained_feature_extractor is None:
        raise UserError("--pretrained_feature_extractor, the checkpoint to evaluate, is missing")
    fix_side(args)
    prepare_dali(args)
    resize_to = vars(args).get("resize_to")
    if resize_to is not None and (args.dali or args.dataset in FIXED_SIDES):
        raise refuse(
            "resize_to", resize_to, "none, except with --dataset custom and without --dali"
        )
    if backbones.is_ours(args.encoder):
        honour_crop_size(args)
    backbones.name_for_host(args)
    return args


def load_encoder(args: Namespace, only: str | None = None) -> nn.Module:
    """Builds the encoder that was asked for and loads its weights from the checkpoint.

    Args:
        args: the parsed arguments.
        only: the only format to accept, see `load_student`.

    Raises:
        UserError: the checkpoint cannot be read or lacks any weight of the encoder.
    """
    encoder = backbones.build_encoder(args.encoder, args.backbone_args)
    name = args.backbone_args.get("plugin_encoder", args.encoder)
    load_student(args.pretrained_feature_extractor, name, encoder, only)
    return encoder
