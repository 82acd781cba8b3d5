import pytest
import torch
from torch.autograd import gradcheck

from solo_rekd.losses import cosine_loss, space_similarity_loss

CLOSE = {"rtol": 0, "atol": 1e-10}
LOSSES = [cosine_loss, space_similarity_loss]


def draw(batch=4, dim=5):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, dim, generator=g, dtype=torch.float64) for _ in range(2)]


def slow(loss, predicted, taught):
    """The mean over rows, or over columns, of minus the cosine, number by number."""
    if loss is space_similarity_loss:
        predicted = torch.stack([predicted[:, d] for d in range(predicted.shape[1])])
        taught = torch.stack([taught[:, d] for d in range(taught.shape[1])])
    total = 0
    for h, t in zip(predicted, taught, strict=True):
        product = sum(a * b for a, b in zip(h, t, strict=True))
        length = sum(a**2 for a in h) ** 0.5 * sum(b**2 for b in t) ** 0.5
        total = total - product / length / len(predicted)
    return total


@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_gradient_equal_the_slow_loop(loss):
    predicted, taught = draw()
    predicted.requires_grad_()
    values = loss(predicted, taught), slow(loss, predicted, taught)
    torch.testing.assert_close(*values, **CLOSE)
    gradients = [torch.autograd.grad(value, predicted)[0] for value in values]
    torch.testing.assert_close(*gradients, **CLOSE)
    assert gradcheck(lambda h: loss(h, taught), predicted)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_least_at_the_teacher_and_greatest_opposite_to_it(loss):
    predicted, taught = draw()
    teacher = taught.clone().requires_grad_()
    value = loss(teacher, taught)
    assert float(value.detach()) == pytest.approx(-1)
    (gradient,) = torch.autograd.grad(value, teacher)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)
    assert float(loss(-taught, taught)) == pytest.approx(1)
    assert -1 < float(loss(predicted, taught)) < 1


def test_each_is_blind_to_other_lengths():
    _, taught = draw()
    rows, columns = torch.arange(1.0, 5)[:, None], torch.arange(1.0, 6)
    assert float(cosine_loss(rows * taught, taught)) == pytest.approx(-1)
    assert float(cosine_loss(columns * taught, taught)) > -1 + 1e-3
    assert float(space_similarity_loss(columns * taught, taught)) == pytest.approx(-1)
    assert float(space_similarity_loss(rows * taught, taught)) > -1 + 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_the_teacher_gets_no_gradient_and_the_order_means_nothing(loss):
    predicted, taught = (each.requires_grad_() for each in draw())
    loss(predicted, taught).backward()
    assert predicted.grad is not None and taught.grad is None
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss(predicted, taught), loss(predicted[order], taught[order]))


@pytest.mark.parametrize("loss", LOSSES)
def test_zeros_of_the_teacher_count_as_zero(loss):
    """A ReLU leaves dimensions that are 0 for a whole batch."""
    predicted, taught = draw()
    taught[:, 2] = 0
    taught[1] = 0
    predicted.requires_grad_()
    value = loss(predicted, taught)
    (gradient,) = torch.autograd.grad(value, predicted)
    assert value.isfinite() and gradient.isfinite().all()
    assert not gradient[1].any() or not gradient[:, 2].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_runs_in_float32(loss, dtype):
    predicted, taught = ((1000 * each).to(dtype) for each in draw())  # squares beyond float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(predicted, taught)
    assert value.dtype == torch.float32
    exact = loss(predicted.double(), taught.double())
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
