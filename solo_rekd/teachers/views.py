"""What a teacher makes of the student's views before it looks at them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from solo_rekd.images.resize import resize


class TeacherViews(nn.Module):
    """Normalises the student's views anew, as the teacher was trained, and resizes them.

    It has no entry in a `state_dict`.

    Args:
        scale: factor of each colour; None: the colours stay.
        shift: what is added to each colour then.
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
        """Views of the student, (B, 3, H, H), to those of the teacher, (B, 3, size, size)."""
        images = resize(images, self.size)
        if self.scale is None:
            return images
        return images * self.scale.to(images.dtype) + self.shift.to(images.dtype)  # type: ignore[union-attr]


def make_views(
    given: tuple[Sequence[float], Sequence[float], int],
    wanted: tuple[Sequence[float], Sequence[float], int],
) -> TeacherViews | None:
    """Makes what turns the student's views into a teacher's; None where they are the same.

    Args:
        given: mean and std of each colour, in [0, 1], and side in px, of the student's views.
        wanted: the same of the teacher's.
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
