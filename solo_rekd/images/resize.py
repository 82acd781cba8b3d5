"""Resizing images that are tensors already, as a teacher's views are."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, side: int) -> Tensor:
    """Resizes square images; of that side already, they are returned as they are.

    Bicubic with antialiasing, as most published networks were evaluated: Pillow's, but without
    rounding to 8 bits.

    Args:
        images: shape (..., 3, H, H), of floating point.
        side: in px.

    Returns:
        Shape (..., 3, side, side), in the precision of `images`.
    """
    if images.shape[-2:] == (side, side):
        return images
    batch = images if images.ndim == 4 else images[None]
    # torch has no antialiased kernel of every half precision on every device
    wide = batch.to(torch.promote_types(batch.dtype, torch.float32))
    resized = F.interpolate(wide, (side, side), mode="bicubic", antialias=True)
    return resized.to(batch.dtype).reshape(*images.shape[:-2], side, side)
