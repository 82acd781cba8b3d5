"""The plug-in's backbones under `backbone.name`, for every method and script of the current host.

The host calls a backbone's factory as `factory(method, **backbone.kwargs)`; ours takes one
keyword, `img_size`, which the adapter fills in from the configuration.
"""

from collections.abc import Callable
from typing import Any

from solo.methods.base import BaseMethod
from torch import nn

from solo_rekd.backbones import STUDENTS, TEACHERS, TIMM, build_backbone, is_known
from solo_rekd.hosts.shared.changes import ENTRIES
from solo_rekd.utils.errors import refuse

HOST_BACKBONES = dict(BaseMethod._BACKBONES)


def make_factory(name: str) -> Callable[..., nn.Module]:
    """Makes the host's kind of factory for one of our backbones."""

    def build(method: str | None, img_size: int = 224, **kwargs: Any) -> nn.Module:
        for key, value in kwargs.items():
            raise refuse(f"backbone.kwargs.{key}", value, f"img_size only, for {name}")
        return build_backbone(name, img_size)

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


def register() -> None:
    """Offers our backbones to the host; the caller sees to it that this happens once."""
    ours = {name: make_factory(name) for name in (*STUDENTS, *TEACHERS)}
    ENTRIES.set(BaseMethod, "_BACKBONES", Backbones(ours | HOST_BACKBONES))
