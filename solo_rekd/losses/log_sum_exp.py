"""The log-sum-exp of a query's similarities to a long dictionary, without keeping its logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 4096  # dictionary entries at a time: the logits of one chunk stay in cache


class _LogSumExp(torch.autograd.Function):
    """One pass in chunks keeps a running maximum, sum, and softmax-weighted sum of the dictionary.

    The last is the gradient with respect to the query, so backward has nothing to recompute.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, own: Tensor, dictionary: Tensor, scale: float) -> Tensor:
        maximum = (query * own).sum(1) * scale
        total = torch.ones_like(maximum)
        weighted = own.clone()
        for chunk in dictionary.split(CHUNK):
            logits = (query @ chunk.T).mul_(scale)
            new_maximum = torch.maximum(maximum, logits.amax(1))
            shrink = (maximum - new_maximum).exp()
            weights = logits.sub_(new_maximum[:, None]).exp_()
            total = total * shrink + weights.sum(1)
            weighted = torch.addmm(weighted * shrink[:, None], weights, chunk)
            maximum = new_maximum
        ctx.save_for_backward(weighted * (scale / total)[:, None])
        return maximum + total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (softmax_mean,) = ctx.saved_tensors
        return grad[:, None] * softmax_mean, None, None, None


def log_sum_exp(query: Tensor, own: Tensor, dictionary: Tensor, temperature: float) -> Tensor:
    """Computes `log(exp(q_i.k_i / tau) + sum_j exp(q_i.D_j / tau))` for every query.

    Memory is linear in the chunk, not in the dictionary. Only the query receives a gradient.

    Args:
        query: queries q, shape (B, d).
        own: each query's own key k, shape (B, d), without gradient.
        dictionary: further keys D, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        Shape (B,).
    """
    return _LogSumExp.apply(query, own.detach(), dictionary.detach(), 1 / temperature)
