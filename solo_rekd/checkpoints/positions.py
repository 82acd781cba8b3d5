"""Position embeddings for another grid of patches, as the source's own code resizes them."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_OFFSET = 0.1  # of DINO's and DINOv2's code, added to the new side against rounding


def resize_positions(positions: Tensor, side: int, manner: str) -> Tensor:
    """Resizes the position embeddings of a class token and a square grid.

    Args:
        positions: shape (1, 1 + n * n, d).
        side: side of the new grid, in patches.
        manner: `scale`: bicubic by the ratio of the sides, as DINO (arXiv 2104.14294), iBOT and
            DINOv2 without registers (arXiv 2304.07193); `size`: bicubic to the new size, as
            Hugging Face. Neither smooths a smaller grid, as timm does.

    Returns:
        Shape (1, 1 + side * side, d); `positions` itself if the grid already has that side.
    """
    first, grid = positions[:, :1], positions[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    if old == side:
        return positions
    maps = grid.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if manner == "scale":
        ratio = (side + _OFFSET) / old
        resized = interpolate(maps, scale_factor=(ratio, ratio), mode="bicubic")
    else:
        resized = interpolate(maps, size=(side, side), mode="bicubic")
    patches = resized.permute(0, 2, 3, 1).flatten(1, 2).to(grid.dtype)
    return torch.cat([first, patches], dim=1)
