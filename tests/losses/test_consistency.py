import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import consistency_loss


def draw(batch=4, dim=5):
    generator = torch.Generator().manual_seed(0)
    return [
        normalize(torch.randn(batch, dim, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    ]


def test_value_and_gradient_equal_the_slow_loop():
    query, taught = draw()
    query.requires_grad_()
    slow = 0
    for i in range(len(query)):
        for d in range(query.shape[1]):
            slow = slow + (query[i, d] - taught[i, d]) ** 2 / len(query)
    fast = consistency_loss(query, taught)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(loss, query)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)
    assert gradcheck(lambda q: consistency_loss(q, taught), query)


def test_it_is_zero_at_the_teacher_and_four_opposite_to_it():
    query, _ = draw()
    assert float(consistency_loss(query, query)) == 0
    assert float(consistency_loss(query, -query)) == pytest.approx(4)
    query.requires_grad_()
    assert not torch.autograd.grad(consistency_loss(query, query), query)[0].any()


def test_the_teacher_gets_no_gradient():
    query, taught = (embeddings.requires_grad_() for embeddings in draw())
    consistency_loss(query, taught).backward()
    assert query.grad is not None
    assert taught.grad is None


def test_permuting_the_batch_changes_nothing():
    query, taught = draw()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        consistency_loss(query, taught), consistency_loss(query[order], taught[order])
    )


def test_half_precision_runs_in_float32():
    query, taught = (embeddings.bfloat16() for embeddings in draw())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = consistency_loss(query, taught)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss.double(), consistency_loss(query.double(), taught.double()), rtol=1e-5, atol=0
    )
