"""CRCD's second element (arXiv 2103.16367): the task's gradients with respect to an embedding.

They are written out rather than computed by autograd, so that the student's can be trained.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from solo_rekd.losses.log_sum_exp import key_mean
from solo_rekd.utils.precision import full_precision


@full_precision
def info_nce_gradient(query: Tensor, positive: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Computes the gradient of each query's InfoNCE (`info_nce_loss`) with respect to the query.

    `g_i = (sum_j p_ij D_j - k_i) / tau`, with D the own key k_i and the queue, and p_i the softmax
    of the similarities: the mean of the dictionary under p_i, minus the own key.

    Args:
        query: L2-normalised queries, shape (B, d).
        positive: each query's own key, shape (B, d), without gradient.
        queue: other keys, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        Shape (B, d), differentiable in `query`; the graph keeps B + K rows of d numbers.
    """
    return (key_mean(query, positive, queue, temperature) - positive.detach()) / temperature


@full_precision
def cross_entropy_gradient(
    embedding: Tensor, labels: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Computes the gradient of each embedding's cross-entropy under a linear classifier.

    `g_i = (softmax(W x_i + b) - y_i) W`, with y_i the label as a one-hot vector.

    Args:
        embedding: x, shape (B, d).
        labels: shape (B,), from 0 to C - 1.
        weight: W, shape (C, d), without gradient.
        bias: b, shape (C,), without gradient.

    Returns:
        Shape (B, d), differentiable in `embedding`.
    """
    weight, bias = weight.detach(), bias.detach()
    predicted = torch.softmax(embedding @ weight.T + bias, 1)
    return predicted @ weight - weight[labels]


@full_precision
def gradient_relation_loss(
    student: Tensor,
    teacher: Tensor,
    counted: Tensor | None = None,
    count: Tensor | None = None,
) -> Tensor:
    """Computes `mean_i (1 - cos(g_i, h_i))` between the gradients of student and teacher.

    As in the code of arXiv 2103.16367, which weights it by 10.

    Args:
        student: gradients g of the student's task, shape (B, d).
        teacher: gradients h of the teacher's task, shape (B, d), without gradient.
        counted: mask of the rows to average, shape (B,); None: all. Selecting rows instead would
            wait for the device to count them.
        count: divisor of the sum; None: the number of counted rows, or 1.

    Returns:
        A scalar in [0, 2]; 0 where no row counts.
    """
    distances = 1 - cosine_similarity(student, teacher.detach(), dim=1)
    if counted is None:
        return distances.mean()
    if count is None:
        count = counted.sum().clamp(min=1)
    return distances.masked_fill(~counted, 0).sum() / count
