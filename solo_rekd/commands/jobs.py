"""Turns the arguments of a command into a host's job."""

from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.commands.flags import folders, refuse_numbers, speed
from solo_rekd.commands.words import given, values_of_others
from solo_rekd.config import CONFIGS, preset
from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
)
from solo_rekd.hosts.rates import BATCH
from solo_rekd.hosts.shared.limits import LIMITS
from solo_rekd.utils.errors import nearest_first, refuse

CROPS = 2  # per image, by default

VIEW = {field: name.classic for field, name in names.VIEW.items()}
OPTIMIZER = {field: name.classic for field, name in (names.OPTIMIZER | names.WARMUP).items()}


def pretraining(args: Namespace, methods: Mapping[str, Collection[str]]) -> Pretraining:
    """Makes a pretraining of the arguments of `solo-rekd pretrain`.

    Args:
        args: the arguments.
        methods: the names of the host's methods, each with the settings that it takes.

    Raises:
        UserError: the method is unknown or lacks the preset, a folder is not named, a number is
            outside its limits, or the views have different numbers of settings.
    """
    if args.method not in methods:
        raise refuse("method", args.method, nearest_first(args.method, sorted(methods)))
    others = _others(args)
    of_method = {*methods[args.method], *names.MOMENTUM}
    settings = preset(args.method, args.preset) | given(args, {n: n for n in args.settings})
    settings |= {name: value for name, value in others.items() if name in of_method}
    size = None if args.crop_size is None else args.crop_size[0]
    return Pretraining(
        method=args.method,
        network=Network(args.encoder, _stem(args)),
        images=_images(args, size, judged=False),
        views=views(args),
        # scaled as the classic host does, which counts --gpus and not --devices
        optimizer=_optimizer(
            args, args.lr * args.batch_size * len(others.get("gpus", (0,))) / BATCH
        ),
        batch_size=args.batch_size,
        epochs=args.max_epochs,
        classifier_lr=args.classifier_lr,
        student_checkpoint=args.student_checkpoint,
        seed=args.seed,
        settings=settings,
        host=speed(args)
        | {name: value for name, value in others.items() if name not in of_method}
        | args.keys,
    )


def _stem(args: Namespace) -> str:
    """Returns the student's first layers: those of the file it starts from, if there is one."""
    if args.student_checkpoint is None:
        return str(args.stem)
    from solo_rekd.checkpoints.student import choose_stem  # imports torch

    return choose_stem(args.student_checkpoint, args.encoder, args.stem)


def linear_evaluation(args: Namespace, network: Network) -> LinearEvaluation:
    """Makes a linear evaluation of the arguments of `solo-rekd linear`.

    Args:
        args: the arguments.
        network: what the checkpoint holds.

    Raises:
        UserError: a folder is not named, or a number is outside its limits.
    """
    others = _others(args)
    return LinearEvaluation(
        checkpoint=args.pretrained_feature_extractor,
        network=network,
        images=_images(args, args.crop_size, judged=True),
        optimizer=_optimizer(args, args.lr),
        batch_size=args.batch_size,
        epochs=args.max_epochs,
        seed=args.seed,
        host=speed(args) | others | args.keys,
    )


def views(args: Namespace) -> tuple[View, ...]:
    """Returns how crops are drawn: one view for each value of the flags that have several.

    Raises:
        UserError: two flags have different numbers of values, and neither has just one.
    """
    lists = given(args, VIEW)
    number = max((len(values) for values in lists.values()), default=1)
    for field, values in lists.items():
        if len(values) not in (1, number):
            raise refuse(VIEW[field], list(values), f"one value, or {number}, as another flag has")
    lists.setdefault("crops", (CROPS,))
    sizes = lists.get("size", (None,))
    found = []
    for index in range(number):
        view = {field: values[index % len(values)] for field, values in lists.items()}
        if view.get("size") == sizes[0]:
            view.pop("size", None)  # the images' own size
        found.append(View(**view))
    return tuple(found)


def kept_in(args: Namespace) -> Path | None:
    """Returns the folder of the checkpoints; None: none are kept."""
    return args.checkpoint_dir if args.save_checkpoint else None


def _others(args: Namespace) -> dict[str, Any]:
    """Returns the flags of a method or a host, after checking every number."""
    others = values_of_others(args)
    refuse_numbers(vars(args) | others, LIMITS)
    for name in ("gpus", "devices"):
        text = str(others.get(name, "0"))
        if name == "gpus" or "," in text:  # --devices 2 counts devices, and does not name them
            numbers = [word for word in text.split(",") if word]
            if not numbers or not all(map(str.isdecimal, numbers)):
                raise refuse(name, others[name], "device numbers, such as 0 or 0,1")
            others |= {name: tuple(map(int, numbers))} if name in others else {}
    return others


def _images(args: Namespace, size: int | None, *, judged: bool) -> Images:
    train, val = folders(args, judged=judged)
    return Images(
        train=train,
        val=val,
        size=size,
        dataset=args.dataset,
        labelled=not getattr(args, "no_labels", False),
        **given(args, {name: name for name in ("mean", "std", "resize_to")}),
        **given(args, {"workers": "num_workers"}),
    )


def _optimizer(args: Namespace, lr: float) -> Optimizer:
    settings: dict[str, Any] = given(args, OPTIMIZER)
    if args.lars:
        settings["name"] = "lars"
    return Optimizer(lr=lr, **settings)


def method_settings(method: str | None) -> tuple[str, ...]:
    """Returns the names of the settings of one of our methods; nothing for other methods."""
    config = CONFIGS.get(method or "")
    return () if config is None else tuple(config.__dataclass_fields__)
