"""The softmax of a query over a long dictionary, without storing its logits.

A cross-entropy between two softmaxes only needs the log-sum-exp and the mean of further values
under the softmax (losses/similarity.py).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from solo_rekd.utils.precision import full_precision

CHUNK = 4096  # dictionary entries at a time: the logits of one chunk stay in cache


class _Attended(NamedTuple):
    """What one pass over a dictionary finds.

    Attributes:
        log_sum: log-sum-exp of the scaled similarities, shape (B,).
        mean: mean of the values under their softmax, shape (B, v).
        logit: the mean similarity under it, shape (B,); None where it is not asked for.
    """

    log_sum: Tensor
    mean: Tensor
    logit: Tensor | None


def _attend(
    query: Tensor,
    own: Tensor | None,
    keys: Tensor,
    values: Tensor,
    scale: float,
    mean_logit: bool = False,
) -> _Attended:
    """Computes the log-sum-exp of the scaled similarities, and the mean of the values.

    One pass in chunks keeps a running maximum, sum, and softmax-weighted sum of the values; the
    value of an own key is the key itself.
    """
    if own is None:
        maximum = query.new_full((len(query),), -torch.inf)
        total = torch.zeros_like(maximum)
        weighted = query.new_zeros(len(query), values.shape[1])
        logit_sum = torch.zeros_like(total) if mean_logit else None
    else:
        maximum = (query * own).sum(1) * scale
        total = torch.ones_like(maximum)
        weighted = own.clone()
        logit_sum = maximum.clone() if mean_logit else None
    for chunk, chunk_values in zip(keys.split(CHUNK), values.split(CHUNK), strict=True):
        logits = (query @ chunk.T).mul_(scale)
        new_maximum = torch.maximum(maximum, logits.amax(1))
        shrink = (maximum - new_maximum).exp()
        shifted = logits.sub_(new_maximum[:, None])
        if logit_sum is None:
            weights = shifted.exp_()
        else:
            weights = shifted.exp()
            of_chunk = torch.addcmul(new_maximum[:, None] * weights, weights, shifted)
            logit_sum = logit_sum * shrink + of_chunk.sum(1)
        total = total * shrink + weights.sum(1)
        weighted = torch.addmm(weighted * shrink[:, None], weights, chunk_values)
        maximum = new_maximum
    logit = None if logit_sum is None else logit_sum / total
    return _Attended(maximum + total.log(), weighted / total[:, None], logit)


class _LogSumExp(torch.autograd.Function):
    """The gradient is the mean of the keys, so backward recomputes nothing."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, own: Tensor | None, dictionary: Tensor, scale: float
    ) -> Tensor:
        value, mean, _ = _attend(query, own, dictionary, dictionary, scale)
        ctx.save_for_backward(mean.mul_(scale))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (scaled_mean,) = ctx.saved_tensors
        return grad[:, None] * scaled_mean, None, None, None


class _SoftmaxMean(torch.autograd.Function):
    """Backward recomputes the softmax chunk by chunk, so its B x K weights are not stored."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, own: Tensor, keys: Tensor, scale: float) -> Tensor:
        value, mean, _ = _attend(query, own, keys, keys, scale)
        ctx.save_for_backward(query, own, keys, value, mean)
        ctx.scale = scale
        return mean

    @staticmethod
    @once_differentiable
    @full_precision  # backward may be called under autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        query, own, keys, value, mean = ctx.saved_tensors
        # the mean's derivative by the query is scale times the covariance of the keys
        weight = ((query * own).sum(1) * ctx.scale - value).exp() * (grad * own).sum(1)
        found = weight[:, None] * own - (grad * mean).sum(1, keepdim=True) * mean
        for chunk in keys.split(CHUNK):
            weights = (query @ chunk.T).mul_(ctx.scale).sub_(value[:, None]).exp_()
            found.addmm_(weights.mul_(grad @ chunk.T), chunk)
        return found.mul_(ctx.scale), None, None, None


def key_mean(query: Tensor, own: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Computes `sum_j p_ij D_j` with `p_i = softmax_j(q_i.D_j / tau)`, differentiable in q.

    Memory is linear in the size of a chunk, in backward too.

    Args:
        query: queries q, shape (B, d).
        own: one further key per query, shape (B, d), without gradient.
        keys: keys D, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        Shape (B, d).
    """
    return _SoftmaxMean.apply(query, own.detach(), keys.detach(), 1 / temperature)


def log_sum_exp(
    query: Tensor, own: Tensor | None, dictionary: Tensor, temperature: float
) -> Tensor:
    """Computes `log(exp(q_i.k_i / tau) + sum_j exp(q_i.D_j / tau))` for every query.

    Memory is linear in the size of a chunk, not in the dictionary. Only the query gets a gradient.

    Args:
        query: queries q, shape (B, d).
        own: each query's own key k, shape (B, d), without gradient; None leaves its term out.
        dictionary: further keys D, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        Shape (B,).
    """
    own = None if own is None else own.detach()
    return _LogSumExp.apply(query, own, dictionary.detach(), 1 / temperature)


@torch.no_grad()
def softmax_mean_and_entropy(
    query: Tensor, own: Tensor | None, keys: Tensor, values: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Computes `sum_j p_ij V_j` with `p_i = softmax_j(z_ij)`, an attention, and p_i's entropy.

    The logits are `z_ij = q_i.D_j / tau`, and `H(p_i) = logsumexp_j z_ij - sum_j p_ij z_ij`: where
    the values are the keys, their mean gives the mean logit; otherwise it is accumulated.

    Memory is linear in the size of a chunk. torch's fused attention is as fast and exact on a CPU,
    but stores all logits where keys and values differ in width, as two networks' features do.

    Args:
        query: queries q, shape (B, d).
        own: one further key and value per query, shape (B, d), or None.
        keys: keys D, shape (K, d).
        values: values V, shape (K, v); v = d where there is an own key.
        temperature: tau, above 0.

    Returns:
        Shapes (B, v) and (B,), the entropy in nats; both without gradient.
    """
    scale = 1 / temperature
    found = _attend(query, own, keys, values, scale, mean_logit=values is not keys)
    logit = (query * found.mean).sum(1) * scale if found.logit is None else found.logit
    return found.mean, found.log_sum - logit
