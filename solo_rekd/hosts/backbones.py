"""Backbones that only a host has, for evaluations that need nothing else from it."""

import importlib
from collections.abc import Callable

from torch import nn

from solo_rekd import hosts


def builder(given: str | None = None) -> Callable[[str, str, int], nn.Module]:
    """Makes a function that builds a host's backbone from its name, the data set and the side.

    Args:
        given: the host, as in `hosts.find`.

    Raises:
        UserError: there is no such host.
    """
    kind, root = hosts.locate(given)
    hosts.prefer(root)
    return importlib.import_module(f"{hosts.ADAPTERS[kind]}.backbones").build_for_evaluation
