import pytest
import torch
from torch.autograd import gradcheck

from solo_rekd.losses import regression_loss

CLOSE = {"rtol": 0, "atol": 1e-10}


def draw(batch=4, dim=5):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, dim, generator=g, dtype=torch.float64) for _ in range(2)]


def test_value_and_gradient_equal_the_slow_loop():
    predicted, taught = draw()
    predicted.requires_grad_()
    slow = 0
    for h, t in zip(predicted, taught, strict=True):
        for d in range(len(h)):
            slow = slow + (h[d] / h.norm() - t[d] / t.norm()) ** 2 / len(predicted)
    fast = regression_loss(predicted, taught)
    torch.testing.assert_close(fast, slow, **CLOSE)
    gradients = [torch.autograd.grad(loss, predicted)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients, **CLOSE)
    assert gradcheck(lambda h: regression_loss(h, taught), predicted)


def test_it_is_the_paper_codes_two_minus_two_cosines():
    predicted, taught = draw()
    cosines = torch.nn.functional.cosine_similarity(predicted, taught, dim=1)
    torch.testing.assert_close(regression_loss(predicted, taught), (2 - 2 * cosines).mean())


def test_it_is_zero_in_the_teachers_direction_and_four_opposite_to_it():
    _, taught = draw()
    lengths = torch.tensor([[0.1], [1], [3], [50]])
    predicted = (lengths * taught).requires_grad_()
    loss = regression_loss(predicted, taught)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, predicted)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)
    assert float(regression_loss(-taught, taught)) == pytest.approx(4)


def test_the_teacher_gets_no_gradient_and_the_order_means_nothing():
    predicted, taught = (each.requires_grad_() for each in draw())
    regression_loss(predicted, taught).backward()
    assert predicted.grad is not None and taught.grad is None
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        regression_loss(predicted, taught), regression_loss(predicted[order], taught[order])
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_in_float32(dtype):
    predicted, taught = ((1000 * each).to(dtype) for each in draw())  # squares beyond float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = regression_loss(predicted, taught)
    assert loss.dtype == torch.float32
    exact = regression_loss(predicted.double(), taught.double())
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
