"""The least value that a contrast with a teacher's dictionary can have, whatever the student does.

A loss is far or near only beside its floor. The entropy of the target is one for every
cross-entropy, and with equal temperatures the student that equals its teacher reaches it. A sharp
target has hardly any entropy, yet unit vectors at a temperature cannot put all of a softmax on one
key of thousands. The bounds here count that in, by the mean of the dictionary alone, so that they
cost one pass over it.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from solo_rekd.utils.precision import full_precision

GRID = 129  # weights among which the tightest bound is found: to 0.001 nats
REACH = 12.0  # of the logits of these weights, which go from 6e-6 to 1 less that


@torch.no_grad()
@full_precision
def contrast_floor(
    positive: Tensor | None, queue: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Bounds `logsumexp_j s(q_i, D_j) - q_i.T_i / tau` from below over all unit queries q.

    With m the mean of the K entries of the queue and any weight w of the own key k_i, the
    log-sum-exp of a dictionary is at least its mean logit under `(w, (1 - w) / K, ...)` and the
    entropy of these weights, so that the loss is at least

    `H(w) + (1 - w) log K - |w k_i + (1 - w) m - T_i| / tau`,

    for a unit query's product with a vector is at least minus that vector's length. The greatest
    of these bounds is returned. With T_i = k_i, InfoNCE, it is `log(1 + K exp(-|k_i - m| / tau))`,
    which is the loss of the best query where all entries of the queue are m.

    Args:
        positive: each query's own key k, shape (B, d); None: there is none, and w is 0.
        queue: the other entries, shape (K, d).
        target: T, the mean of keys under the target's weights, shape (B, d).
        temperature: tau, above 0.

    Returns:
        One bound a query, shape (B,), without gradient; a negative one where T lies outside the
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

    The loss of a positive is `f(q.(m - P_p) / tau)` or more, by Jensen's inequality, with m the
    mean of the K entries of the queue and the convex `f(x) = log(1 + K exp(x))`. By the same
    inequality the mean over p is at least `f(q.(m - P) / tau)` with P the mean of the positives,
    hence `log(1 + K exp(-|P - m| / tau))`. It is reached where the positives are one, and all
    entries of the queue are.

    Args:
        positives: P, the mean of each query's positives, shape (B, d), under any weights; the
            bound is then that of the mean of the losses under the same weights.
        queue: negatives, shape (K, d).
        temperature: tau, above 0.

    Returns:
        One bound a query, shape (B,), without gradient.
    """
    lengths = (positives - queue.mean(0)).norm(dim=1)
    return softplus(math.log(len(queue)) - lengths / temperature)
