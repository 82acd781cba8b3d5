"""The classic host's jobs as functions, because its wheel lacks the scripts.

Each takes the host's flags as a list of strings, builds the same objects as the host's script,
from the host's own parts, and returns the results that it reports.
"""

import functools
import inspect
import io
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytorch_lightning as pl
from solo.args import setup
from solo.methods import METHODS
from solo.methods.linear import LinearModel
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.hosts.classic import arguments, backbones
from solo_rekd.hosts.classic.callbacks import LastAccuracy, NoEmptyTraining, OnlineKnn
from solo_rekd.hosts.classic.help import own_flags, show_help
from solo_rekd.hosts.classic.images import allow_any_photos, read_images
from solo_rekd.hosts.classic.loaders import (
    DataOrder,
    classification_loaders,
    pretrain_loader,
    validation_loader,
    with_dali,
)
from solo_rekd.hosts.classic.progress import (
    BatchCount,
    EpochSignal,
    History,
    ShareDone,
    TotalProgress,
)
from solo_rekd.hosts.classic.run import ClassicRun, note_run, settle_lengths
from solo_rekd.hosts.jobs import Signal
from solo_rekd.hosts.shared import speed
from solo_rekd.hosts.shared.checks import (
    refuse_long_rise,
    refuse_missing_gpu,
    refuse_no_training,
    refuse_unwritable,
    refuse_wandb,
)
from solo_rekd.hosts.shared.limits import LIMITS, Limits
from solo_rekd.hosts.shared.method import refuse_other_method
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.folders import refuse_folders
from solo_rekd.utils.errors import (
    OneLineParser,
    UserError,
    at_least,
    complaint,
    refuse,
    refuse_beyond,
)

MISPLACED = (FileNotFoundError, NotADirectoryError, PermissionError)
SEEDS = 2**32  # number of possible seeds
RESIZE = "resize_to"  # field of `solo_rekd.hosts.jobs.Images`
ERROR = ": error: "  # argparse prints this before its message

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def command_line(argv: list[str]) -> Iterator[None]:
    """Makes the host's parsers, which read sys.argv, read `argv`.

    Raises:
        UserError: a parser refuses it, where argparse would print its usage and exit.
    """
    kept = sys.argv
    sys.argv = [kept[0], *argv]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as error:
        _, refused, told = said.getvalue().partition(ERROR)
        if not refused:
            raise
        said = io.StringIO()
        raise complaint(told.strip()) from error
    finally:
        sys.argv = kept
        print(said.getvalue(), end="", file=sys.stderr)


def flag(argv: list[str], name: str) -> str | None:
    """Returns the value of a flag in `argv`, before the host's parser knows its flags."""
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}")
    return getattr(parser.parse_known_args(argv)[0], name)


def refuse_numbers(argv: list[str], limits: Limits) -> None:
    """Raises a UserError for a number in `argv` outside its flag's limits."""
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    for name in limits:
        parser.add_argument(f"--{name}", nargs="+", default=())
    for name, texts in vars(parser.parse_known_args(argv)[0]).items():
        for text in texts:
            try:
                value = number(text)
            except ValueError:  # the host's parser refuses it
                continue
            refuse_beyond(name, value, *limits[name])


def number(text: str) -> float:
    """Reads a number, as an integer if it is written as one."""
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def mistakes_in_one_line(job: Callable[P, T]) -> Callable[P, T]:
    """Turns failures inside the host that are the user's mistakes into UserErrors."""

    @functools.wraps(job)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return job(*args, **kwargs)
        except UserError:
            raise
        except Exception as error:
            # not a setting: a folder in place of a run's file, or a full disk
            own = isinstance(error, OSError) and not isinstance(error, MISPLACED)
            mistake = None if own else as_mistake(error)
            if mistake is None:
                raise
            raise mistake from error

    return run


def refuse_mistakes(args: Namespace) -> None:
    """Raises a UserError for a setting that would fail later, or with a traceback."""
    refuse_missing_gpu("accelerator", getattr(args, "accelerator", None))
    refuse_no_training("limit_train_batches", getattr(args, "limit_train_batches", None))
    refuse_wandb(getattr(args, "wandb", False))
    rise = "warmup_teacher_temperature_epochs"
    refuse_long_rise(rise, getattr(args, rise, None), getattr(args, "max_epochs", None))
    if getattr(args, "save_checkpoint", False):
        refuse_unwritable("checkpoint_dir", args.checkpoint_dir)
    if args.dataset in FOLDERS and not getattr(args, "no_labels", False):
        names = {name: getattr(args, name) for name in ("train_dir", "val_dir")}
        refuse_folders(
            {name: str(Path(args.data_dir) / folder) for name, folder in names.items() if folder}
        )


def parse(
    argv: list[str],
    host_parser: Callable[[], Namespace],
    limits: Limits = LIMITS,
    *,
    pretraining: bool = False,
) -> Namespace:
    """Parses the host's flags, with numbers within `limits`, and our own flags (`own_flags`)."""
    own = own_flags(pretraining=pretraining)
    ours, rest = own.parse_known_args(argv)
    if {"-h", "--help"} & set(rest):
        print(own.format_help())  # the host's parser shows its own, and exits
    if ours.seed not in range(SEEDS):
        raise refuse("seed", ours.seed, f"a whole number from 0 to {SEEDS - 1}")
    if flag(argv, "dataset") == "custom" and flag(argv, "train_dir") is None:
        raise UserError("--dataset custom needs --train_dir, a folder of --data_dir")
    refuse_numbers(rest, limits)
    arguments.begin(True)
    allow_any_photos()
    with command_line(rest):
        args = host_parser()
    args.seed = ours.seed
    args.memory_format, args.compile = ours.memory_format, ours.compile
    speed.note(vars(args))
    refuse_mistakes(args)
    trained = arguments.fill_in_training(args, argv)
    read_images(args)
    backbones.choose_stem(args, trained if ours.stem == "auto" else ours.stem)
    if pretraining:
        args.student_checkpoint = ours.student_checkpoint
        arguments.prepare_student(args)
    arguments.honour_crop_size(args)
    return args


@mistakes_in_one_line
def parse_pretrain(argv: list[str]) -> Namespace:
    """Parses the flags of `pretrain`.

    Raises:
        UserError: a flag is unknown, or its value is not allowed.
    """
    method, names = flag(argv, "method"), sorted(set(METHODS) - {"base", "linear"})
    if method not in names:
        raise refuse("method", method, names)
    args = parse(argv, parse_host_pretrain, pretraining=True)
    arguments.prepare_dali(args)
    settle_lengths(args)
    note_run(args)
    return args


@mistakes_in_one_line
def parse_linear(argv: list[str]) -> Namespace:
    """Parses the flags of `linear`.

    Raises:
        UserError: a flag is unknown, or its value is not allowed.
    """
    own = OneLineParser(add_help=False, allow_abbrev=False)
    own.add_argument(f"--{RESIZE}", type=at_least(int, 1))
    ours, rest = own.parse_known_args(argv)
    # the host's unwrapped parser, because the plug-in's wrapper is for the host's script
    args = parse(rest, inspect.unwrap(setup.parse_args_linear))
    vars(args).update(vars(ours))
    arguments.honour_crop_size(args)
    args = arguments.complete_linear(args)
    note_run(args)
    return args


def parse_host_pretrain() -> Namespace:
    """Runs the host's unwrapped pretraining parser; its `--help` shows a method's flags too."""
    show_help()
    return inspect.unwrap(setup.parse_args_pretrain)()


def make_trainer(args: Namespace, title: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Makes the host's trainer, with one progress bar over the whole run."""
    logger = None
    if args.wandb:
        logger = pl.loggers.WandbLogger(
            name=args.name, project=args.project, entity=args.entity, offline=args.offline
        )
        logger.log_hyperparams(args)
        callbacks.append(pl.callbacks.LearningRateMonitor(logging_interval="epoch"))
    if args.enable_progress_bar:
        callbacks.append(TotalProgress(title))
    callbacks.append(NoEmptyTraining())
    trainer = pl.Trainer.from_argparse_args(
        args,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        terminate_on_nan=True,
        resume_from_checkpoint=None,  # for fit(): here it is deprecated
    )
    for callback in trainer.callbacks:
        if isinstance(callback, ClassicRun):
            callback.args = args
    return trainer


def resume_from(args: Namespace) -> str | None:
    """Returns the checkpoint to resume: the given one, or with `--auto_resume` the newest fitting.

    Raises:
        UserError: it cannot be read, or is from another method.
    """
    path = args.resume_from_checkpoint
    if path is None and args.auto_resume:
        folder = os.path.join(args.checkpoint_dir, args.method)
        path = AutoResumer(folder, max_hours=args.auto_resumer_max_hours).find_checkpoint(args)
    if path is None:
        return None
    checkpoint = read_complete(path)
    refuse_other_method(checkpoint, args.method)
    return str(path)


def fit(
    trainer: pl.Trainer, model: Any, train_loader: Any, val_loader: Any, resume: str | None
) -> None:
    """Trains, and raises the error that stopped the training, if any.

    Args:
        resume: the checkpoint to resume from.

    Raises:
        UserError: the images do not fill one batch.
    """
    trainer.fit(model, train_loader, val_loader, ckpt_path=resume)
    if trainer.interrupted:
        raise KeyboardInterrupt  # Lightning catches it and returns as after a complete training


@mistakes_in_one_line
def pretrain(
    argv: list[str],
    history: Path | None = None,
    progress: Callable[[float], None] | None = None,
    title: str | None = None,
    signal: Signal | None = None,
    logs: Sequence[str] = (),
    epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Pretrains like the host's `main_pretrain.py`, with an order of images set by the seed.

    Args:
        argv: flags of the host's script, and `own_flags`.
        history: file that gets a line per epoch: see `History`.
        progress: function that takes the share of all steps done, in [0, 1], after every step.
        title: title of the progress bar; None: the method and the encoder.
        signal: label-free evaluation of each epoch: see `Signal`.
        logs: further formats of the history: see `Progress`.
        epoch: function that takes each line of the history after it is written.

    Returns:
        seconds, images_per_second, the checkpoint's path (None without `--save_checkpoint`), and
        the last value of every logged metric.

    Raises:
        UserError: a setting is not allowed, or the training diverged.
    """
    args = parse_pretrain(argv)
    pl.seed_everything(args.seed)
    model = with_dali(args, METHODS[args.method], "PretrainABC")(**vars(args))
    counter = BatchCount()
    order = DataOrder(args.seed)
    callbacks: list[pl.Callback] = [counter, order, OnlineKnn(lambda model: True)]
    if progress:
        callbacks.append(ShareDone(progress))
    if signal:
        callbacks.append(EpochSignal(signal, history))
    if history:
        # before the checkpoint, so that no epoch is saved without it
        callbacks.append(History(history, logs, epoch))
    checkpointer = None
    if args.save_checkpoint:
        checkpointer = Checkpointer(
            args,
            logdir=os.path.join(args.checkpoint_dir, args.method),
            frequency=args.checkpoint_frequency,
        )
        callbacks.append(checkpointer)
    args.resume_from_checkpoint = resume_from(args)
    trainer = make_trainer(args, title or f"{args.method} {args.encoder}", callbacks)
    train_loader = None if args.dali else order.rule(pretrain_loader(args))

    started = time.perf_counter()
    fit(trainer, model, train_loader, validation_loader(args), args.resume_from_checkpoint)
    seconds = time.perf_counter() - started
    # without a remaining epoch, the host's callback has saved none
    saved = getattr(checkpointer, "last_ckpt", args.resume_from_checkpoint)
    return {
        "seconds": seconds,
        "images_per_second": counter.batches * args.batch_size * trainer.world_size / seconds,
        "checkpoint": str(saved) if checkpointer and saved else None,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }


@mistakes_in_one_line
def linear(
    argv: list[str],
    progress: Callable[[float], None] | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint with a linear classifier on frozen features, like `main_linear.py`.

    Args:
        argv: flags of the host's script, and `own_flags`.
        progress: function that takes the share of all steps done, in [0, 1], after every step.
        title: title of the progress bar.

    Returns:
        top1 and top5 in percent on the validation images in the last epoch, and the protocol,
        which notes any other epoch or fewer images.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the encoder, the training
            diverged, or nothing was evaluated.
    """
    args = parse_linear(argv)
    pl.seed_everything(args.seed)
    backbone = arguments.load_encoder(args)
    model = with_dali(args, LinearModel, "ClassificationABC")(backbone, **vars(args))
    last = LastAccuracy()
    callbacks: list[pl.Callback] = [last, *([ShareDone(progress)] if progress else [])]
    if args.save_checkpoint:
        folder = os.path.join(args.checkpoint_dir, "linear")
        callbacks.append(Checkpointer(args, logdir=folder, frequency=args.checkpoint_frequency))
    trainer = make_trainer(args, title or "linear evaluation", callbacks)
    train, val_loader = classification_loaders(args)
    # the host validates without DALI
    train_loader = None if args.dali else train
    fit(trainer, model, train_loader, val_loader, args.resume_from_checkpoint)
    top1, top5 = last.top()
    return {
        "top1": top1,
        "top5": top5,
        "protocol": last.protocol(
            trainer, args.max_epochs, args.optimizer, args.lr, args.batch_size
        ),
    }
