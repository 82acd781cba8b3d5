"""InfoNCE and the relation contrast: one cross-entropy over a dictionary, with several targets.

All are `-mean_i sum_j y_ij log softmax_j(q_i.D_j / tau)` over the own key and a queue. InfoNCE
puts all of y on the own key; the relation contrast shares it with the entries of the queue that
belong to the query's prototype (arXiv 2112.04174: the relation replaces the labels of supervised
contrastive learning, arXiv 2004.11362), or with relatives that need not be in the queue.
"""

import torch
from torch import Tensor

from solo_rekd.losses.log_sum_exp import log_sum_exp
from solo_rekd.utils.precision import full_precision


@full_precision
def info_nce_loss(query: Tensor, positive: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Computes InfoNCE against a queue, as in MoCo (arXiv 1911.05722, equation 1).

    Args:
        query: L2-normalised queries, shape (B, d).
        positive: each query's own key, shape (B, d), without gradient.
        queue: other keys, shape (K, d), without gradient.
        temperature: tau, above 0.

    Returns:
        The mean over the batch, a scalar.
    """
    return target_contrast_loss(query, positive, queue, positive, temperature)


@full_precision
def target_contrast_loss(
    query: Tensor, positive: Tensor, queue: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Computes a contrast to a mean of keys, `mean_i logsumexp_j s(q_i, D_j) - q_i.T_i / tau`.

    A logit is linear in its key, so a weighted mean T_i of keys represents those weights, and its
    keys need not be in the queue. If T_i is the own key, this is InfoNCE.

    Args:
        query: L2-normalised queries q, shape (B, d).
        positive: each query's own key, the first entry of its dictionary, shape (B, d), without
            gradient.
        queue: the other entries, shape (K, d), without gradient.
        target: T, shape (B, d), without gradient.
        temperature: tau, above 0.

    Returns:
        The mean over the batch, a scalar.
    """
    expected = (query * target.detach()).sum(1) / temperature
    return (log_sum_exp(query, positive, queue, temperature) - expected).mean()


def symmetric_info_nce_loss(
    queries: list[Tensor], keys: list[Tensor], queues: list[Tensor], temperature: float
) -> Tensor:
    """Computes the mean of `info_nce_loss` over both orders of two views, as the host's MoCo does.

    Args:
        queries: queries of each view, shape (B, d).
        keys: keys of each view, shape (B, d), compared with the other view's queries.
        queues: queue of each view, shape (K, d), compared with the other view's queries.
        temperature: tau, above 0.

    Returns:
        A scalar.
    """
    return (
        info_nce_loss(queries[0], keys[1], queues[1], temperature)
        + info_nce_loss(queries[1], keys[0], queues[0], temperature)
    ) / 2


@full_precision
def relation_contrast_loss(
    query: Tensor,
    positive: Tensor,
    queue: Tensor,
    query_ids: Tensor,
    queue_ids: Tensor,
    num_prototypes: int,
    temperature: float,
    own_weight: float | str,
    shares: Tensor | None = None,
) -> Tensor:
    """Computes a contrast where queue entries of the query's prototype are positives too.

    With S_c the sum of the n_c queue entries of prototype c, a_i the query's prototype and w_i
    the target weight of its own key,
    `L_i = logsumexp_j s(q_i, D_j) - w_i s(q_i, k_i) - (1 - w_i) q_i.S_{a_i} / (n_{a_i} tau)`,
    which is the cross-entropy with the B x K mask of positives, at the cost of InfoNCE.
    Soft assignments p replace `S_{a_i} / n_{a_i}` by `sum_c p_ic S_c / n_c`, summed over the
    prototypes that have entries.
    The relation as positives is from arXiv 2112.04174; the weights and this form are ours.

    Args:
        query: L2-normalised queries, shape (B, d).
        positive: each query's own key, shape (B, d), without gradient.
        queue: other keys, shape (K, d), without gradient.
        query_ids: the queries' prototypes, shape (B,), from -1 (none) to num_prototypes - 1.
        queue_ids: the queue entries' prototypes, shape (K,), in the same range.
        num_prototypes: size C of the bank.
        temperature: tau, above 0.
        own_weight: w in [0, 1], or "uniform" for 1 / (1 + n_{a_i}). A query whose prototype has
            no entry in the queue puts all its weight on its own key.
        shares: soft assignments p of the queries, shape (B, C), with rows that sum to 1; None: each
            query belongs to the prototype in `query_ids`. A query without one has no relatives.

    Returns:
        The mean over the batch, a scalar.
    """
    target, _ = relation_target(
        positive, queue, query_ids, queue_ids, num_prototypes, own_weight, shares
    )
    return target_contrast_loss(query, positive, queue, target, temperature)


@torch.no_grad()
@full_precision
def relation_target(
    positive: Tensor,
    queue: Tensor,
    query_ids: Tensor,
    queue_ids: Tensor,
    num_prototypes: int,
    own_weight: float | str,
    shares: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes the target of `relation_contrast_loss`, with the same arguments.

    Its weights are `w` on the own key and `(1 - w) p_c / n_c` on each of the n_c entries of
    prototype c. Their entropy `H(w) + (1 - w) (H(p) + sum_c p_c log n_c)` is the minimum of the
    loss, reached where the student's softmax has these weights.

    Returns:
        The mean of the keys under these weights, shape (B, d), and their entropy in nats, (B,).
    """
    dtype = positive.dtype
    # Row 0 collects the entries without a prototype and is then zeroed.
    sums = queue.new_zeros(num_prototypes + 1, queue.shape[1]).index_add_(0, queue_ids + 1, queue)
    counts = count_members(queue_ids, num_prototypes)
    sums[0] = 0
    means = sums / counts.to(dtype).clamp(min=1)[:, None]
    members = counts[query_ids + 1].to(dtype)
    if shares is None:
        relation = means[query_ids + 1]
        spread = members.clamp(min=1).log()
    else:
        present = shares * (counts[1:] > 0)
        present = present / present.sum(1, keepdim=True).clamp(min=1e-12)
        relation = present @ means[1:]
        spread = torch.special.entr(present).sum(1)
        spread = spread + present @ counts[1:].clamp(min=1).to(dtype).log()

    if own_weight == "uniform":
        weight = 1 / (1 + members)
    else:
        weight = torch.full_like(members, float(own_weight)).masked_fill(members == 0, 1)
    entropy = torch.special.entr(weight) + torch.special.entr(1 - weight) + (1 - weight) * spread
    return weight[:, None] * positive + (1 - weight)[:, None] * relation, entropy


def count_members(ids: Tensor, num_prototypes: int) -> Tensor:
    """Counts the members of each prototype.

    Args:
        ids: prototypes, shape (K,), from -1 (none) to num_prototypes - 1.
        num_prototypes: size C of the bank.

    Returns:
        Shape (C + 1,), integers: entry c + 1 counts prototype c, entry 0 is 0.
    """
    counts = ids.new_zeros(num_prototypes + 1).index_add_(0, ids + 1, torch.ones_like(ids))
    counts[0] = 0
    return counts
