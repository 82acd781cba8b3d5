"""Similarity distillation: the student's similarities to a dictionary match the teacher's.

SEED (arXiv 2101.04731) and CompRess (arXiv 2010.14713) use this cross-entropy; CompRess writes it
as KL(teacher || student), which is smaller by the entropy of the teacher's softmax and has the
same gradient.
"""

import torch
from torch import Tensor

from solo_rekd.losses.floors import contrast_floor
from solo_rekd.losses.log_sum_exp import log_sum_exp, softmax_mean_and_entropy
from solo_rekd.utils.precision import full_precision


def similarity_distillation_loss(
    query: Tensor,
    dictionary: Tensor,
    taught: Tensor,
    teacher_dictionary: Tensor,
    temperature: float,
    teacher_temperature: float,
    own: Tensor | None = None,
) -> Tensor:
    """Computes the loss of `similarity_distillation`, a scalar, from the same arguments."""
    return similarity_distillation(
        query, dictionary, taught, teacher_dictionary, temperature, teacher_temperature, own
    )[0]


@full_precision
def similarity_distillation(
    query: Tensor,
    dictionary: Tensor,
    taught: Tensor,
    teacher_dictionary: Tensor,
    temperature: float,
    teacher_temperature: float,
    own: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes the cross-entropy between the teacher's softmax and the student's.

    `-mean_i sum_j p_ij log softmax_j(q_i.D_j / tau)` with `p_i = softmax_j(t_i.T_j / tau_t)`. A
    logit is linear in D_j, so the mean logit under p_i is `q_i.(sum_j p_ij D_j) / tau`, and neither
    p nor the logits need to be stored.

    It is at least the mean entropy of p, because it is that plus the Kullback-Leibler divergence.
    The loss reaches this floor where the student has the teacher's similarities and both have the
    same temperature. A student with the teacher's dictionary at a higher temperature cannot have as
    sharp a softmax: `contrast_floor` bounds its loss, and the larger bound is the image's floor.

    Args:
        query: L2-normalised queries q, shape (B, d).
        dictionary: the student's dictionary D, shape (K, d), without gradient.
        taught: the teacher's embeddings t of the same images, shape (B, D), without gradient.
        teacher_dictionary: the teacher's dictionary T, shape (K, D), without gradient; its entry j
            is from the same image as the student's. It may be the student's dictionary itself.
        temperature: tau, above 0.
        teacher_temperature: tau_t, above 0.
        own: one further entry per query, in both dictionaries, shape (B, d), without gradient; only
            where d = D. SEED's own entry is `taught`; CompRess has none.

    Returns:
        The mean over the batch, a scalar, and its floor, a scalar without gradient.
    """
    target, floor = softmax_mean_and_entropy(
        taught, own, teacher_dictionary, dictionary, teacher_temperature
    )
    if dictionary is teacher_dictionary:
        floor = torch.maximum(floor, contrast_floor(own, dictionary, target, temperature))
    expected = (query * target).sum(1) / temperature
    loss = (log_sum_exp(query, own, dictionary, temperature) - expected).mean()
    return loss, floor.mean()
