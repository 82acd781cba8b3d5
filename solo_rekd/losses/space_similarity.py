"""Cosine of two networks' features, image by image and dimension by dimension."""

from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.utils.precision import full_precision


@full_precision
def cosine_loss(predicted: Tensor, taught: Tensor) -> Tensor:
    """Computes `-mean_i cos(h_i, t_i)` over the rows.

    Args:
        predicted: the student's predictions h of any length, shape (N, M).
        taught: the teacher's features t, shape (N, M), without gradient.

    Returns:
        A scalar from -1 to 1; a row of zeros counts as 0.
    """
    return -(normalize(predicted, dim=1) * normalize(taught.detach(), dim=1)).sum(1).mean()


def space_similarity_loss(predicted: Tensor, taught: Tensor) -> Tensor:
    """Computes `-mean_j cos(H_j, T_j)` over the columns, as in CoSS (arXiv 2409.13939).

    A column holds one dimension of the features of all images of a batch. The rows are not
    normalised first, so their lengths count.

    Args:
        predicted: the student's predictions H, shape (B, F).
        taught: the teacher's features T of the same views, shape (B, F), without gradient.

    Returns:
        A scalar from -1 to 1; a dimension that is 0 for all images counts as 0.
    """
    return cosine_loss(predicted.T, taught.T)
