"""The plug-in's backbones under `--encoder`, for every method and evaluation of the classic host.

The host builds its encoder from a dictionary local to `BaseMethod.__init__` and another local to
its linear script. Both look up `vit_tiny` in `solo.utils.backbones`, so that name becomes a
dispatcher: with `plugin_encoder` it builds one of ours, without it the host's own.
"""

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from solo.methods.base import BaseMethod
from solo.utils import backbones as host_backbones
from torch import nn

from solo_rekd.backbones import (
    HOST_NAMES,
    STUDENTS,
    TEACHERS,
    TIMM,
    build_backbone,
    is_known,
    refuse_unknown,
    settle_stem,
)
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.hosts.shared.changes import ENTRIES
from solo_rekd.utils.errors import refuse

PATCH = 16  # px, the host's default
DISPATCHED = "vit_tiny"  # the name under which the host builds our encoders
HOST_ENCODERS = tuple(BaseMethod._SUPPORTED_ENCODERS)


class EncoderNames(list):
    """The host's list of encoders, which also holds every `timm:NAME`."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(TIMM))


def is_ours(encoder: str) -> bool:
    """Whether the plug-in, not the host, builds `encoder`."""
    return encoder not in HOST_ENCODERS and is_known(encoder)


def dispatch(host_factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Makes the host's factory build our backbones where `plugin_encoder` names one."""

    def build(
        plugin_encoder: str | None = None,
        plugin_img_size: int = 224,
        plugin_stem: str = "auto",
        **kwargs: Any,
    ) -> nn.Module:
        if plugin_encoder is None:
            return host_factory(**kwargs)
        return build_backbone(plugin_encoder, plugin_img_size, plugin_stem)

    return build


def backbone_args(encoder: str, img_size: int, stem: str = "auto") -> dict[str, Any]:
    """Returns the host's `backbone_args` that make the dispatcher build `encoder`."""
    return {"plugin_encoder": encoder, "plugin_img_size": img_size, "plugin_stem": stem}


def choose_stem(args: Namespace, stem: str) -> None:
    """Makes the host build the encoder of the parsed `args` with the given stem.

    Raises:
        UserError: the encoder has only one stem.
    """
    args.stem = stem  # of our encoders, see `name_for_host`
    if stem == "auto":
        return
    if args.encoder in HOST_NAMES:
        args.backbone_args["cifar"] = stem == "small"
    elif args.encoder in HOST_ENCODERS or args.encoder.startswith(TIMM):
        raise refuse("stem", stem, f"auto with {args.encoder}, which has one stem only")


def build_encoder(encoder: str, backbone_args: dict[str, Any]) -> nn.Module:
    """Builds any encoder from the host's name and arguments, as its linear script does."""
    kwargs = dict(backbone_args)
    cifar = kwargs.pop("cifar", False)
    if encoder in HOST_NAMES:
        return build_backbone(encoder, img_size=224, stem="small" if cifar else "imagenet")
    if encoder.startswith("swin") and cifar:
        kwargs["window_size"] = 4
    return getattr(host_backbones, encoder)(**kwargs)


def build_for_evaluation(name: str, dataset: str, side: int) -> nn.Module:
    """Builds one of the host's own encoders, as its linear script does.

    Args:
        name: of the encoder.
        dataset: what it is judged on, by the host's name.
        side: of the images, in px.

    Raises:
        UserError: the host has no such encoder.
    """
    refuse_unknown("encoder", name, HOST_ENCODERS)
    kwargs: dict[str, Any] = {"cifar": dataset in ("cifar10", "cifar100")}
    if "resnet" not in name:
        kwargs["img_size"] = side
    if "vit" in name:
        kwargs["patch_size"] = PATCH
    return build_encoder(name, kwargs)


def build_ours(init: Callable[..., None]) -> Callable[..., None]:
    """Makes `BaseMethod.__init__` build our encoders; other calls are passed on."""

    @functools.wraps(init)
    def initialise(self: Any, encoder: str, **kwargs: Any) -> None:
        if not is_ours(encoder):
            init(self, encoder=encoder, **kwargs)
            return
        img_size = kwargs["crop_size"][0] if "crop_size" in kwargs else 224
        stem = kwargs.get("stem", "auto")  # a flag of our commands, not of the host's scripts
        kwargs["backbone_args"] = backbone_args(encoder, img_size, stem)
        # `encoder_name` is the dispatcher's: the host looks for "resnet" and "swin" in it
        init(self, encoder=DISPATCHED, **kwargs)

    return initialise


def name_for_host(args: Namespace) -> None:
    """Replaces our encoder in an evaluation's parsed arguments by a name that the host can build.

    Its stem is the trained one, whatever the size in the evaluation: the weights of most networks
    fit either.
    """
    if is_ours(args.encoder):
        stem = getattr(args, "stem", "auto")
        trained = read_student(Path(args.pretrained_feature_extractor))
        if stem == "auto" and trained.get("encoder") == args.encoder:
            stem = settle_stem(args.encoder, trained["crop_size"], trained.get("stem", "auto"))
        side = vars(args).get("resize_to") or args.crop_size[0]
        args.backbone_args = backbone_args(args.encoder, side, stem)
        args.encoder = DISPATCHED


def register() -> None:
    """Registers our encoders in the host; the caller ensures that this happens once."""
    names = EncoderNames([*HOST_ENCODERS, *STUDENTS, *TEACHERS])
    ENTRIES.wrap(host_backbones, DISPATCHED, dispatch)
    ENTRIES.set(BaseMethod, "_SUPPORTED_ENCODERS", names)
    ENTRIES.wrap(BaseMethod, "__init__", build_ours)
