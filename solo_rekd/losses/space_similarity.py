"""Cosine of two networks' features, image by image and dimension by dimension."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.utils.precision import full_precision

LEAST = 1e-12  # length of a vector that has a direction, as torch's `normalize` has it


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


@full_precision
def space_similarity_loss(
    predicted: Tensor, taught: Tensor, total: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Computes `-mean_j cos(H_j, T_j)` over the columns, as in CoSS (arXiv 2409.13939).

    A column holds one dimension of the features of all images of a batch. The rows are not
    normalised first, so their lengths count.

    Args:
        predicted: the student's predictions H, shape (B, F).
        taught: the teacher's features T of the same views, shape (B, F), without gradient.
        total: makes of sums over these images, shape (3, F), those over the images of all
            processes; None: these are all.

    Returns:
        A scalar from -1 to 1; a dimension that is 0 for all images counts as 0.
    """
    taught = taught.detach()
    sums = torch.stack(
        [(predicted * taught).sum(0), predicted.square().sum(0), taught.square().sum(0)]
    )
    products, *squares = sums if total is None else total(sums)
    lengths = [square.clamp(min=LEAST**2).sqrt() for square in squares]
    return -(products / lengths[0] / lengths[1]).mean()
