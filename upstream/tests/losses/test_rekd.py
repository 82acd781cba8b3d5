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

import pytest
import torch
import torch.nn.functional as F
from solo.losses import mocov2plus_loss_func, rekd_loss_func


def draw(query_ids, queue_ids, f=8):
    b, q = len(query_ids), len(queue_ids)
    query = F.normalize(torch.randn(b, f, dtype=torch.double), dim=1).requires_grad_()
    key = F.normalize(torch.randn(b, f, dtype=torch.double), dim=1)
    queue = F.normalize(torch.randn(f, q, dtype=torch.double), dim=0)
    return query, key, queue, torch.tensor(query_ids), torch.tensor(queue_ids)


def slow_rekd_loss_func(query, key, queue, query_ids, queue_ids, temperature, own_weight):
    loss = 0
    for i in range(len(query)):
        dictionary = torch.cat([key[i].unsqueeze(1), queue], dim=1)
        log_p = F.log_softmax(query[i] @ dictionary / temperature, dim=0)
        positives = [j for j, c in enumerate(queue_ids) if c == query_ids[i] and c >= 0]
        if not positives:
            weight = 1
        elif own_weight == "uniform":
            weight = 1 / (1 + len(positives))
        else:
            weight = own_weight
        loss -= weight * log_p[0]
        for j in positives:
            loss -= (1 - weight) / len(positives) * log_p[1 + j]
    return loss / len(query)


@pytest.mark.parametrize("own_weight", [0, 0.3, 1, "uniform"])
@pytest.mark.parametrize(
    "query_ids, queue_ids",
    [
        ([0, 1, 1, 2], [0, 0, 1, 2, 2, 2, 3, 4, 1, 0]),
        ([4, 4, 0], [0, 1, 2, 3, 0, 1]),  # prototype without samples in the queue
        ([0, -1, 1], [-1, 0, -1, 1, 1, -1]),  # samples without prototype
        ([-1, -1], [-1, -1, -1]),
    ],
)
def test_rekd_loss_equals_slow_loop(query_ids, queue_ids, own_weight):
    batch = draw(query_ids, queue_ids)
    loss = rekd_loss_func(*batch, num_prototypes=5, temperature=0.2, own_weight=own_weight)
    slow_loss = slow_rekd_loss_func(*batch, temperature=0.2, own_weight=own_weight)
    assert torch.allclose(loss, slow_loss, rtol=0, atol=1e-10)

    grads = [torch.autograd.grad(value, batch[0])[0] for value in (loss, slow_loss)]
    assert torch.allclose(*grads, rtol=0, atol=1e-10)


def test_rekd_loss_with_all_weight_on_own_key_is_mocov2plus_loss():
    batch = draw([0, 1, 1, 2], [0, 0, 1, 2, 2, 2, 3, 4, 1, 0])
    loss = rekd_loss_func(*batch, num_prototypes=5, temperature=0.1, own_weight=1)
    moco_loss = mocov2plus_loss_func(*batch[:3], temperature=0.1)
    assert torch.allclose(loss, moco_loss, rtol=0, atol=1e-10)


def test_rekd_loss_under_autocast():
    query, key, queue, query_ids, queue_ids = draw([0, 1, 1, 2], [0, 0, 1, 2, 2, 2, 3, 4, 1, 0])
    query, key, queue = query.bfloat16(), key.bfloat16(), queue.float()

    def loss_func():
        return rekd_loss_func(query, key, queue, query_ids, queue_ids, 5, temperature=0.02)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_func()
    assert loss.dtype == torch.float
    assert torch.allclose(loss, loss_func())


def test_rekd_loss():
    b, f, q = 32, 128, 15000
    query = torch.randn(b, f).requires_grad_()
    key = torch.randn(b, f).requires_grad_()
    queue = torch.randn(f, q)
    query_ids, queue_ids = torch.randint(0, 100, (b,)), torch.randint(0, 100, (q,))

    loss = rekd_loss_func(query, key, queue, query_ids, queue_ids, num_prototypes=100)
    initial_loss = loss.item()
    assert loss != 0

    for _ in range(20):
        loss = rekd_loss_func(query, key, queue, query_ids, queue_ids, num_prototypes=100)
        loss.backward()
        query.data.add_(-0.5 * query.grad)
        key.data.add_(-0.5 * key.grad)

        query.grad = key.grad = None

    assert loss < initial_loss
