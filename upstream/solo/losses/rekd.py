# Copyright 2023 solo-learn development team.

# Permission is hereby granted, free of charge, to any person obtaining a copy of
# this software and associated documentation files (the "Software"), to deal in
# the Software without restriction, including without limitation the rights to use,
# copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
# Software, and to permit persons to whom the Software is furnished to do so,
# subject to the following conditions:

# The above copyright notice and this permission notice shall be included in all copies
# or substantial portions of the Software.

# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
# INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
# PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
# FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
# OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
# DEALINGS IN THE SOFTWARE.

from typing import Union

import torch


def rekd_loss_func(
    query: torch.Tensor,
    key: torch.Tensor,
    queue: torch.Tensor,
    query_ids: torch.Tensor,
    queue_ids: torch.Tensor,
    num_prototypes: int,
    temperature: float = 0.2,
    own_weight: Union[float, str] = 0.5,
) -> torch.Tensor:
    """Computes ReKD's loss given a batch of queries from view 1, a batch of keys from view 2 and a
    queue of past elements, of which those that share the query's prototype are positives too.

    It is the cross-entropy between the softmax over the own key and the queue and a target that
    puts own_weight on the own key and spreads the rest evenly over the positives. As the target of
    a positive only depends on its prototype, the sum of each prototype's elements is all that is
    needed, and not the NxK mask of positives. Runs in the precision of the queue, also under
    autocast.

    Args:
        query (torch.Tensor): NxD Tensor containing the normalized queries from view 1.
        key (torch.Tensor): NxD Tensor containing the normalized keys from view 2.
        queue (torch.Tensor): DxK Tensor containing the normalized elements of the queue.
        query_ids (torch.Tensor): N Tensor containing the prototype of each query, -1 for none.
        queue_ids (torch.Tensor): K Tensor containing the prototype of each element of the queue,
            -1 for none.
        num_prototypes (int): number of prototypes.
        temperature (float, optional): temperature of the softmax in the contrastive
            loss. Defaults to 0.2.
        own_weight (Union[float, str], optional): target weight of the own key in [0,1], or
            "uniform" to weigh the own key like any other positive. A query without positives in
            the queue always puts all the weight on its own key. Defaults to 0.5.

    Returns:
        torch.Tensor: ReKD loss.
    """

    with torch.autocast(query.device.type, enabled=False):
        query, key = query.to(queue.dtype), key.to(queue.dtype)

        pos = torch.einsum("nc,nc->n", [query, key]).unsqueeze(-1)
        neg = torch.einsum("nc,ck->nk", [query, queue])
        logits = torch.cat([pos, neg], dim=1) / temperature

        # sum and number of the elements of each prototype, column 0 is for those without one
        sums = queue.new_zeros(queue.size(0), num_prototypes + 1)
        sums.index_add_(1, queue_ids + 1, queue)
        counts = queue.new_zeros(num_prototypes + 1)
        counts.index_add_(0, queue_ids + 1, counts.new_ones(queue.size(1)))
        counts[0] = 0

        n_pos = counts[query_ids + 1]
        mean_pos = sums[:, query_ids + 1] / n_pos.clamp(min=1)
        mean_logit = torch.einsum("nc,cn->n", [query, mean_pos]) / temperature

        if own_weight == "uniform":
            weight = 1 / (1 + n_pos)
        else:
            weight = torch.full_like(n_pos, own_weight).masked_fill(n_pos == 0, 1)

        expected_logit = weight * logits[:, 0] + (1 - weight) * mean_logit
        return (torch.logsumexp(logits, dim=1) - expected_logit).mean()
