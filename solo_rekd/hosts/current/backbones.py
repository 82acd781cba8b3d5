"""The plug-in's backbones under `backbone.name`, for every method and script of the current host.

The host calls a backbone's factory as `factory(method, **backbone.kwargs)`; ours takes two
keywords, `img_size`, which the adapter fills in from the configuration, and `stem`. The host's own
ResNets take `stem` too, and without it they are what the host builds.
"""

from collections.abc import Callable
from typing import Any

from solo.methods.base import BaseMethod
from torch import nn

from solo_rekd.backbones import (
    HOST_NAMES,
    STUDENTS,
    TEACHERS,
    TIMM,
    build_backbone,
    is_known,
    make_stem_small,
    refuse_unknown,
)
from solo_rekd.hosts.shared.changes import ENTRIES
from solo_rekd.utils.errors import refuse

SEES_SIZE = ("vit", "swin")  # beginnings of networks that are built for one size
HOST_BACKBONES = dict(BaseMethod._BACKBONES)


def make_factory(name: str) -> Callable[..., nn.Module]:
    """Makes the host's kind of factory for one of our backbones."""

    def build(
        method: str | None, img_size: int = 224, stem: str = "auto", **kwargs: Any
    ) -> nn.Module:
        for key, value in kwargs.items():
            raise refuse(f"backbone.kwargs.{key}", value, f"img_size, stem, for {name}")
        return build_backbone(name, img_size, stem)

    return build


def with_stem(name: str) -> Callable[..., nn.Module]:
    """Makes a factory of one of the host's ResNets that takes `stem`, `small` or `imagenet`."""

    def build(*args: Any, stem: str = "imagenet", **kwargs: Any) -> nn.Module:
        net = HOST_BACKBONES[name](*args, **kwargs)
        if stem not in ("small", "imagenet"):
            raise refuse("backbone.kwargs.stem", stem, "small, imagenet")
        if stem == "small":
            make_stem_small(name, net)
        return net

    return build


class Backbones(dict):
    """The host's dictionary of factories, which also holds every `timm:NAME`."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(TIMM))

    def __missing__(self, name: str) -> Callable[..., nn.Module]:
        if name in self:
            return make_factory(name)
        raise KeyError(name)


def is_ours(name: str) -> bool:
    """Whether the plug-in, not the host, builds `name`."""
    return name not in HOST_BACKBONES and is_known(name)


def build_for_evaluation(name: str, dataset: str, side: int) -> nn.Module:
    """Builds one of the host's own backbones, without a method's changes to it.

    Args:
        name: of the backbone.
        dataset: what it is judged on, of which nothing but its ResNets depends.
        side: of the images, in px.

    Raises:
        UserError: the host has no such backbone.
    """
    refuse_unknown("encoder", name, HOST_BACKBONES)
    kwargs = {"img_size": side} if name.startswith(SEES_SIZE) else {}
    return HOST_BACKBONES[name](None, **kwargs)


def register() -> None:
    """Offers our backbones to the host; the caller sees to it that this happens once."""
    ours = {name: make_factory(name) for name in (*STUDENTS, *TEACHERS)}
    theirs = {name: with_stem(name) for name in HOST_NAMES}
    ENTRIES.set(BaseMethod, "_BACKBONES", Backbones(ours | HOST_BACKBONES | theirs))
