"""A contrast with several positives per image: its own embedding and those of its bag."""

import torch
from torch import Tensor

from solo_rekd.losses.log_sum_exp import log_sum_exp
from solo_rekd.utils.precision import full_precision


@full_precision
def bag_contrast_loss(
    query: Tensor, positives: Tensor, queue: Tensor, temperature: float
) -> Tensor:
    """Computes InfoNCE of each query with each of its positives, which are not negatives.

    `L_p = mean_i [log(exp(s(q_i, P_ip)) + sum_j exp(s(q_i, D_j))) - s(q_i, P_ip)]` with
    `s(a, b) = a.b / tau`: the intra-sample and inter-sample distillation of BINGO (arXiv
    2107.01691). The sum over the queue is the same for every p, so it is taken once.

    Args:
        query: L2-normalised queries, shape (B, d).
        positives: the positives of each query, shape (B, P, d), without gradient.
        queue: negatives, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        One mean over the batch for each p, shape (P,).
    """
    own = torch.einsum("bd,bpd->bp", query, positives.detach()) / temperature
    others = log_sum_exp(query, None, queue, temperature)
    return (torch.logaddexp(own, others[:, None]) - own).mean(0)
