"""Chooses the faster memory format for a network, by a fixed rule so that runs are reproducible.

The rule follows the table in docs/speed.md, which `scripts/benchmark_layout.py` measures.
"""

from typing import NamedTuple

import torch
from torch import nn

from solo_rekd.config import AUTO, CHANNELS_LAST, CONTIGUOUS

FORMATS = {CHANNELS_LAST: torch.channels_last, CONTIGUOUS: torch.contiguous_format}


class Choice(NamedTuple):
    """A memory format, and why it was chosen.

    Attributes:
        name: `channels_last` or `contiguous`.
        reason: the reason, in a few words.
    """

    name: str
    reason: str


def convolves(network: nn.Module) -> bool:
    """Whether a network has 2D convolutions other than those that cut an image into patches.

    Example:
        >>> convolves(nn.Conv2d(3, 8, kernel_size=3)), convolves(nn.Conv2d(3, 8, 16, stride=16))
        (True, False)
    """
    convolutions = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    return any(
        each.kernel_size != each.stride or each.kernel_size == (1, 1) for each in convolutions
    )


def choose(
    network: nn.Module, asked: str = AUTO, *, gpu: bool = False, half: bool = False
) -> Choice:
    """Chooses the memory format of a network.

    Args:
        network: images (B, C, H, W) to features.
        asked: value of the setting `memory_format`.
        gpu: whether it runs on a GPU.
        half: whether it computes in 16 bits, for which NVIDIA recommends channels-last on a GPU.
    """
    if asked != AUTO:
        return Choice(asked, "as asked for")
    if gpu and half:
        return Choice(CHANNELS_LAST, "16 bits on a GPU")
    if convolves(network):
        return Choice(CHANNELS_LAST, "it has convolutions")
    return Choice(CONTIGUOUS, "its only convolution makes patches")


def lay_out(network: nn.Module, name: str) -> None:
    """Converts a network's weights to a memory format, in place; its activations follow.

    Args:
        network: network to convert; its values, names and types do not change.
        name: `channels_last` or `contiguous`.
    """
    network.to(memory_format=FORMATS[name])


def is_channels_last(network: nn.Module) -> bool:
    """Whether any weight of a network is channels-last and not also contiguous."""
    return any(
        parameter.dim() == 4
        and not parameter.is_contiguous()
        and parameter.is_contiguous(memory_format=torch.channels_last)
        for parameter in network.parameters()
    )
