"""Lower bounds of a contrast with a teacher's dictionary, whatever the student does.

A loss is low or high only relative to its floor. The entropy of the target is a floor of every
cross-entropy, and with equal temperatures a student that equals its teacher reaches it. A sharp
target has hardly any entropy, yet unit vectors at a temperature cannot put all of a softmax on one
key among thousands. The bounds here include that, using only the mean of the dictionary, so they
cost one pass over it.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from solo_rekd.utils.precision import full_precision

GRID = 129  # weights that are tried for the tightest bound: accurate to 0.001 nats
REACH = 12.0  # largest logit of these weights, which range from 6e-6 to 1 - 6e-6


@torch.no_grad()
@full_precision
def contrast_floor(
    positive: Tensor | None, queue: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Bounds `logsumexp_j s(q_i, D_j) - q_i.T_i / tau` from below over all unit queries q.

    With m the mean of the K entries of the queue and any weight w of the own key k_i, the
    log-sum-exp of a dictionary is at least its mean logit under `(w, (1 - w) / K, ...)` plus the
    entropy of these weights, so the loss is at least

    `H(w) + (1 - w) log K - |w k_i + (1 - w) m - T_i| / tau`,

    because a unit query's product with a vector is at least minus that vector's length. The
    largest of these bounds is returned. With T_i = k_i, InfoNCE, it is
    `log(1 + K exp(-|k_i - m| / tau))`, the loss of the best query if all queue entries are m.

    Args:
        positive: each query's own key k, shape (B, d); None: there are none, and w is 0.
        queue: the other entries, shape (K, d).
        target: T, the mean of keys under the target's weights, shape (B, d).
        temperature: tau, above 0.

    Returns:
        One bound per query, shape (B,), without gradient; a negative one where T lies outside the
        dictionary.
    """
    mean, entries = queue.mean(0), math.log(len(queue))
    others = mean - target
    if positive is None:
        return entries - others.norm(dim=1) / temperature
    own = positive - target
    logits = torch.linspace(-REACH, REACH, GRID, dtype=queue.dtype, device=queue.device)
    weight, rest = logits.sigmoid()[:, None], (-logits).sigmoid()[:, None]
    squares = weight**2 * own.square().sum(1) + rest**2 * others.square().sum(1)
    lengths = (squares + 2 * weight * rest * (own * others).sum(1)).clamp(min=0).sqrt()
    entropy = torch.special.entr(weight) + torch.special.entr(rest)
    return (entropy + rest * entries - lengths / temperature).amax(0)


@torch.no_grad()
@full_precision
def bag_floor(positives: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Bounds the mean over p of `bag_contrast_loss` from below over all unit queries.

    By Jensen's inequality, the loss of a positive is at least `f(q.(m - P_p) / tau)`, with m the
    mean of the K entries of the queue and the convex `f(x) = log(1 + K exp(x))`. By the same
    inequality, the mean over p is at least `f(q.(m - P) / tau)` with P the mean of the positives,
    hence at least `log(1 + K exp(-|P - m| / tau))`. It is reached where all positives are equal,
    and all entries of the queue are equal.

    Args:
        positives: P, the mean of each query's positives, shape (B, d), under any weights; the
            bound holds for the mean of the losses under the same weights.
        queue: negatives, shape (K, d).
        temperature: tau, above 0.

    Returns:
        One bound per query, shape (B,), without gradient.
    """
    lengths = (positives - queue.mean(0)).norm(dim=1)
    return softplus(math.log(len(queue)) - lengths / temperature)
