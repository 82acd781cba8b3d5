"""A momentum twin whose keys depend only on the images and the weights."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def switch_off_noise(twin: nn.Module) -> None:
    """Puts a momentum twin into eval mode, except for its BatchNorm layers, which keep their mode.

    This switches off dropout and stochastic depth, whatever library wrote them; BatchNorm can
    still use the statistics of the batch, as for MoCo's keys. CompRess's code (arXiv 2010.14713)
    does the same.

    Args:
        twin: the network, changed in place.

    Example:
        >>> twin = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
        >>> switch_off_noise(twin)
        >>> [module.training for module in twin]
        [True, False]
    """
    for module in twin.modules():
        if not isinstance(module, _BatchNorm):
            module.training = False


@torch.no_grad()
def follow(network: nn.Module, twin: nn.Module, momentum: float) -> None:
    """Updates a momentum twin, `w' <- m w' + (1 - m) w` (arXiv 1911.05722, equation 2), in place.

    Args:
        network: network with the parameters w; its buffers are not used.
        twin: network of the same architecture.
        momentum: m, in [0, 1].
    """
    for parameter, follower in zip(network.parameters(), twin.parameters(), strict=True):
        follower.lerp_(parameter, 1 - momentum)
