"""Similarity distillation: the student's similarities to a dictionary match the teacher's.

SEED (arXiv 2101.04731) and CompRess (arXiv 2010.14713) are this one cross-entropy; CompRess writes
it as KL(teacher || student), which is less by the entropy of the teacher's softmax and has the same
gradient.
"""

from torch import Tensor

from solo_rekd.losses.log_sum_exp import log_sum_exp, softmax_mean
from solo_rekd.utils.precision import full_precision


@full_precision
def similarity_distillation_loss(
    query: Tensor,
    dictionary: Tensor,
    taught: Tensor,
    teacher_dictionary: Tensor,
    temperature: float,
    teacher_temperature: float,
    own: Tensor | None = None,
) -> Tensor:
    """Cross-entropy between the softmax over the teacher's dictionary and that over the student's.

    `-mean_i sum_j p_ij log softmax_j(q_i.D_j / tau)` with `p_i = softmax_j(t_i.T_j / tau_t)`. A
    logit is linear in D_j, so the mean of them under p_i is `q_i.(sum_j p_ij D_j) / tau`, and
    neither p nor the logits need be kept.

    Args:
        query: L2-normalised queries q, shape (B, d).
        dictionary: the student's dictionary D, shape (K, d), without gradient.
        taught: the teacher's embeddings t of the same images, shape (B, D), without gradient.
        teacher_dictionary: the teacher's dictionary T, shape (K, D), without gradient; its entry j
            is of the same image as the student's. It may be the student's itself.
        temperature: tau, above 0.
        teacher_temperature: tau_t, above 0.
        own: a further entry of each query's own, in both dictionaries, shape (B, d), without
            gradient; only where d = D. SEED's own entry is `taught`; CompRess has none.

    Returns:
        The mean over the batch, a scalar; at least the mean entropy of p.
    """
    target = softmax_mean(taught, own, teacher_dictionary, dictionary, teacher_temperature)
    expected = (query * target).sum(1) / temperature
    return (log_sum_exp(query, own, dictionary, temperature) - expected).mean()
