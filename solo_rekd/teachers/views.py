"""Converts the student's views to the teacher's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from solo_rekd.images.resize import resize


class TeacherViews(nn.Module):
    """Renormalises the student's views as the teacher was trained, and resizes them.

    It has no entry in a `state_dict`.

    Args:
        scale: factor of each channel; None: the normalisation is kept.
        shift: number added to each channel afterwards.
        size: side of the result, in px.
    """

    scale: Tensor | None
    shift: Tensor | None

    def __init__(self, scale: Tensor | None, shift: Tensor | None, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps the student's views, (B, 3, H, H), to the teacher's, (B, 3, size, size)."""
        images = resize(images, self.size)
        if self.scale is None:
            return images
        return images * self.scale.to(images.dtype) + self.shift.to(images.dtype)  # type: ignore[union-attr]


def make_views(
    given: tuple[Sequence[float], Sequence[float], int],
    wanted: tuple[Sequence[float], Sequence[float], int],
) -> TeacherViews | None:
    """Makes the module that converts the student's views to a teacher's; None: not needed.

    Args:
        given: channel means and stds, in [0, 1], and side in px, of the student's views.
        wanted: channel means and stds, in [0, 1], and side in px, of the teacher's views.
    """
    mean, std, side = given
    own_mean, own_std, own_side = wanted
    if [*mean, *std] == [*own_mean, *own_std]:
        return None if side == own_side else TeacherViews(None, None, own_side)
    before, after, deviation, own = (
        torch.tensor([*values], dtype=torch.float64)[:, None, None]
        for values in (mean, own_mean, std, own_std)
    )
    scale, shift = deviation / own, (before - after) / own
    return TeacherViews(scale.float(), shift.float(), own_side)
