"""Regression on the direction of a teacher's features."""

from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.losses.consistency import consistency_loss
from solo_rekd.utils.precision import full_precision


@full_precision
def regression_loss(predicted: Tensor, taught: Tensor) -> Tensor:
    """Computes `mean_i ||h_i/|h_i| - t_i/|t_i| ||^2`, as in SimReg (arXiv 2201.05131).

    It equals `mean_i (2 - 2 cos(h_i, t_i))`.

    Args:
        predicted: the student's predictions h of any length, shape (B, F).
        taught: the teacher's features t of the same views, shape (B, F), without gradient.

    Returns:
        A scalar from 0 to 4; 0 where every prediction has the direction of its feature.
    """
    return consistency_loss(normalize(predicted, dim=1), normalize(taught, dim=1))
