"""Resizes images that are tensors, such as a teacher's views."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, side: int) -> Tensor:
    """Resizes square images; images of that side are returned unchanged.

    It is bicubic with antialiasing, as in the evaluation of most published networks: like Pillow's,
    but without rounding to 8 bits.

    Args:
        images: shape (..., 3, H, H), of a floating type.
        side: new side, in px.

    Returns:
        Shape (..., 3, side, side), in the precision of `images`.
    """
    if images.shape[-2:] == (side, side):
        return images
    batch = images if images.ndim == 4 else images[None]
    # torch lacks antialiased kernels for some half precisions on some devices
    wide = batch.to(torch.promote_types(batch.dtype, torch.float32))
    resized = F.interpolate(wide, (side, side), mode="bicubic", antialias=True)
    return resized.to(batch.dtype).reshape(*images.shape[:-2], side, side)
