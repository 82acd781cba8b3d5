import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import bag_contrast_loss, info_nce_loss


def draw(batch=4, positives=3, entries=9, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def unit(*size):
        return normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=-1)

    return unit(batch, dim), unit(batch, positives, dim), unit(entries, dim)


def slow(query, positives, queue, temperature):
    """InfoNCE of every pair, entry by entry."""
    columns = []
    for p in range(positives.shape[1]):
        total = 0
        for q, positive in zip(query, positives[:, p], strict=True):
            above = torch.exp(q @ positive / temperature)
            below = above + sum(torch.exp(q @ entry / temperature) for entry in queue)
            total = total - torch.log(above / below)
        columns.append(total / len(query))
    return torch.stack(columns)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize(("positives", "entries"), [(1, 9), (6, 9), (3, 1), (2, 5000)])
def test_value_and_gradient_equal_the_slow_loop(positives, entries, temperature):
    query, bag, queue = draw(positives=positives, entries=entries)
    query.requires_grad_()
    weights = torch.arange(1.0, positives + 1, dtype=torch.float64)
    found = [
        (value, torch.autograd.grad(value @ weights, query)[0])
        for value in (
            bag_contrast_loss(query, bag, queue, temperature),
            slow(query, bag, queue, temperature),
        )
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-10)


def test_gradcheck():
    query, bag, queue = draw()
    assert gradcheck(lambda q: bag_contrast_loss(q, bag, queue, 0.2), query.requires_grad_())


def test_each_positive_is_one_info_nce():
    query, bag, queue = draw()
    expected = [info_nce_loss(query, bag[:, p], queue, 0.2) for p in range(bag.shape[1])]
    torch.testing.assert_close(bag_contrast_loss(query, bag, queue, 0.2), torch.stack(expected))


def test_the_queries_at_their_positives_are_a_minimum_where_the_queue_is_even():
    query, _, _ = draw(dim=2)
    queue = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64) * 1e-9
    at_best = bag_contrast_loss(query, query[:, None], queue, 0.2)
    other = normalize(query + 0.1, dim=1)
    assert at_best < bag_contrast_loss(other, query[:, None], queue, 0.2)
    free = query.clone().requires_grad_()
    loss = bag_contrast_loss(normalize(free, dim=1), query[:, None], queue, 0.2).sum()
    gradient = torch.autograd.grad(loss, free)[0]
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-7)


def test_far_positives_keep_a_finite_loss():
    query, _, _ = draw()
    loss = bag_contrast_loss(query, -query[:, None], query, 1e-3)
    assert loss.item() == pytest.approx(2000)  # exp of it is beyond a float64


def test_only_the_query_gets_a_gradient():
    query, bag, queue = (tensor.requires_grad_() for tensor in draw())
    bag_contrast_loss(query, bag, queue, 0.2).sum().backward()
    assert query.grad is not None
    assert bag.grad is None
    assert queue.grad is None


def test_half_precision_is_computed_in_full():
    query, bag, queue = (tensor.half() for tensor in draw())
    found = bag_contrast_loss(query, bag, queue, 0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, bag_contrast_loss(query.float(), bag.float(), queue.float(), 0.2)
    )
