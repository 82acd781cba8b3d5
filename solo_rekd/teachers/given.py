"""A teacher that is given as a module from Python."""

import hashlib

import torch
from torch import Tensor, nn

from solo_rekd.config import MODULE
from solo_rekd.utils.errors import UserError, refuse


class GivenBackbone(nn.Module):
    """A module that maps an image to one vector, with the width of that vector.

    Args:
        module: images (B, 3, H, W) to features (B, F), or (B, F, 1, 1).
        num_features: F.

    Attributes:
        num_features: as given.
    """

    def __init__(self, module: nn.Module, num_features: int) -> None:
        super().__init__()
        self.module = module
        self.num_features = num_features

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) to features (B, F)."""
        return self.module(images).flatten(1)


def given_backbone(module: nn.Module | None, name: str, size: int) -> tuple[GivenBackbone, str]:
    """Wraps a module as a backbone, after testing it on two images.

    Args:
        module: see `GivenBackbone`; its mode does not change.
        name: name of the teacher in the settings.
        size: side of its square images, in px.

    Returns:
        The backbone, and the SHA-256 of its weights in hexadecimal, which identifies the teacher of
        a resumed run.

    Raises:
        UserError: there is no module, another teacher is asked for, or the module does not map each
            image to one finite vector.
    """
    if module is None:
        raise UserError(f"teacher={MODULE!r} needs a module, which can only be given from Python")
    if name != MODULE:
        raise refuse("teacher", name, f"{MODULE} where a module is given")
    was_training = module.training
    like = next(module.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            images = torch.zeros(2, 3, size, size, dtype=like.dtype, device=like.device)
            features = module.eval()(images)
    except Exception as error:  # other people's code may raise anything
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"teacher={MODULE!r} does not take {size} px: {cause}") from error
    finally:
        module.train(was_training)
    shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    if not isinstance(shape, tuple) or shape[:1] != (2,) or shape[2:] not in ((), (1, 1)):
        raise UserError(f"teacher={MODULE!r} gives {shape} for two images: expected (2, features)")
    if not features.isfinite().all():
        raise UserError(f"teacher={MODULE!r} gives features that are not finite")
    return GivenBackbone(module, int(shape[1])), _digest(module)


def _digest(module: nn.Module) -> str:
    found = hashlib.sha256()
    for key, value in module.state_dict().items():
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
