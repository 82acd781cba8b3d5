"""A momentum twin whose keys depend on the images and the weights alone."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def switch_off_noise(twin: nn.Module) -> None:
    """Puts a momentum twin into eval mode, but for its BatchNorm, which stays in its mode.

    Dropout and stochastic depth then draw nothing, whatever the library that wrote them; BatchNorm
    can take its statistics from the batch, as MoCo's keys have them. CompRess's code (arXiv
    2010.14713) does the same.

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
