"""Every loss at the ends of its range: finite in float32, and right against float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd import losses

DIM = 6
LENGTHS = {"zero": 0.0, "unit": 1.0, "long": 1e4}


def unit(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, DIM, generator=draw, dtype=torch.float64), dim=-1)


# from the student's queries, unit or zero, what a teacher says, a queue and a temperature
CONTRASTS: dict[str, Callable[..., Tensor]] = {
    "info_nce": losses.info_nce_loss,
    "target": lambda q, t, d, tau: losses.target_contrast_loss(q, t, d, t.flip(0), tau),
    "relation": lambda q, t, d, tau: losses.relation_contrast_loss(
        q, t, d, torch.arange(len(q)) % 2, torch.arange(len(d)) % 2, 2, tau, 0.5
    ),
    "similarity": lambda q, t, d, tau: losses.similarity_distillation_loss(q, d, t, d, tau, tau),
    "bag": lambda q, t, d, tau: losses.bag_contrast_loss(
        q, torch.stack([t, t.flip(0)], 1), d, tau
    ).sum(),
    "relation_difference": lambda q, t, d, tau: losses.relation_difference_loss(
        q, t, d, d.flip(0), tau
    ),
    "gradient_relation": lambda q, t, d, tau: losses.gradient_relation_loss(
        losses.info_nce_gradient(q, t, d, tau), losses.info_nce_gradient(t, t, d, tau)
    ),
}
# from predictions of any length
REGRESSIONS: dict[str, Callable[..., Tensor]] = {
    "consistency": lambda h, t: losses.consistency_loss(normalize(h, dim=1), t),
    "regression": losses.regression_loss,
    "cosine": losses.cosine_loss,
    "space": losses.space_similarity_loss,
}


def value_and_gradient(
    loss: Callable[[Tensor], Tensor], at: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    given = at.to(dtype).requires_grad_()
    value = loss(given)
    (gradient,) = torch.autograd.grad(value, given)
    return value.detach().double(), gradient.double()


def assert_right(loss: Any, at: Tensor, temperature: float = 1.0) -> None:
    """Checks value and gradient; the pulls of a contrast are as long as 1 / temperature."""
    value, gradient = value_and_gradient(loss, at, torch.float32)
    exact, exact_gradient = value_and_gradient(loss, at, torch.float64)
    assert value.isfinite() and gradient.isfinite().all()
    assert abs(value - exact) <= 1e-4 * max(1, abs(exact))
    # float32 rounds the pulls, which may cancel; to normalise a row divides them by its length
    rounding = 1e-6 / temperature / at.norm(dim=1, keepdim=True).clamp(min=1e-12)
    assert ((gradient - exact_gradient).abs() <= 1e-3 * exact_gradient.abs() + rounding).all()


@pytest.mark.parametrize("temperature", [0.01, 10])
@pytest.mark.parametrize(("batch", "queue"), [(1, 1), (1, 5), (4, 1), (4, 5)])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", CONTRASTS)
def test_a_contrast(name: str, length: str, batch: int, queue: int, temperature: float) -> None:
    taught, entries = unit(batch, seed=1), unit(queue, seed=2)

    def loss(raw: Tensor) -> Tensor:
        given = [each.to(raw.dtype) for each in (taught, entries)]
        return CONTRASTS[name](normalize(raw, dim=1), *given, temperature)

    at = unit(batch, seed=0) * LENGTHS[length]
    if name == "gradient_relation" and temperature < 1:
        # so sharp a softmax leaves no gradient that float32 holds, and a cosine with 0 is anything
        assert all(each.isfinite().all() for each in value_and_gradient(loss, at, torch.float32))
    else:
        assert_right(loss, at, temperature)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_regression(name: str, length: str, batch: int) -> None:
    taught = unit(batch, seed=1)
    assert_right(
        lambda raw: REGRESSIONS[name](raw, taught.to(raw.dtype)),
        unit(batch, seed=0) * LENGTHS[length],
    )


# the gradient of InfoNCE is 0 then, and a cosine with 0 is anything
@pytest.mark.parametrize("temperature", [0.01, 10])
@pytest.mark.parametrize("name", sorted({*CONTRASTS} - {"gradient_relation"}))
def test_a_contrast_of_images_that_are_all_the_same(name: str, temperature: float) -> None:
    one = unit(1, seed=3)
    taught, entries = one.repeat(4, 1), one.repeat(5, 1)

    def loss(raw: Tensor) -> Tensor:
        given = [each.to(raw.dtype) for each in (taught, entries)]
        return CONTRASTS[name](normalize(raw, dim=1), *given, temperature)

    assert_right(loss, taught, temperature)
