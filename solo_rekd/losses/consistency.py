"""The squared distance between two networks' embeddings of the same view."""

from torch import Tensor

from solo_rekd.utils.precision import full_precision


@full_precision
def consistency_loss(query: Tensor, taught: Tensor) -> Tensor:
    """Computes `mean_i ||q_i - t_i||^2`, as in DisCo (arXiv 2104.09124).

    Args:
        query: L2-normalised queries, shape (B, d).
        taught: the teacher's embeddings of the same views, shape (B, d), without gradient.

    Returns:
        A scalar: the mean over the batch of a sum over the dimensions, from 0 to 4.
    """
    return (query - taught.detach()).square().sum(1).mean()
