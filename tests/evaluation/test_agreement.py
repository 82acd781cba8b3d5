"""The label-free figures against slow loops in float64, and what must not change them."""

import math

import pytest
import torch
from torch import Tensor

from solo_rekd.evaluation.agreement import (
    chance,
    effective_rank,
    feature_deviation,
    nearest,
    neighbour_agreement,
    shared_neighbours,
)
from solo_rekd.utils.errors import UserError


def draw(number: int = 40, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def slow_agreement(student: Tensor, teacher: Tensor, k: int) -> float:
    """By the definition, an image at a time."""
    number = len(teacher)

    def around(features: Tensor, i: int) -> set[int]:
        rows = features.double()
        cosines = {
            j: float(rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm()))
            for j in range(number)
            if j != i
        }
        return set(sorted(cosines, key=lambda j: -cosines[j])[:k])

    shared = [len(around(student, i) & around(teacher, i)) / k for i in range(number)]
    return sum(shared) / number


@pytest.mark.parametrize("chunk", [1, 77, 2**22])
@pytest.mark.parametrize("k", [1, 5, 39])
def test_agreement_equals_the_slow_loop(k: int, chunk: int) -> None:
    teacher = draw(width=9)
    student = teacher[:, :5] + 0.3 * draw(width=5, seed=1)
    expected = slow_agreement(student, teacher, k)
    assert neighbour_agreement(student, teacher, k, chunk) == pytest.approx(expected, abs=1e-12)
    assert (expected == 1) == (k == 39)


def test_a_network_agrees_with_itself_at_any_scale_and_rotation() -> None:
    teacher = draw()
    turn = torch.linalg.qr(draw(6, 6, seed=2)).Q
    assert neighbour_agreement(3 * teacher @ turn, teacher, 5) == 1


def test_unrelated_features_agree_by_chance() -> None:
    shares = shared_neighbours(nearest(draw(2000)), nearest(draw(2000, 30, seed=1)))
    error = float(shares.std() / len(shares) ** 0.5)
    assert float(shares.mean()) == pytest.approx(chance(2000, 10), abs=4 * error)
    assert chance(2000, 10) == 10 / 1999


def test_equal_features_are_neighbours_in_the_order_of_their_places() -> None:
    # of a collapsed student everyone's nearest are the first images: few of them are the teacher's
    flat = torch.ones(50, 4)
    assert neighbour_agreement(flat, flat, 3) == 1
    assert neighbour_agreement(flat, draw(50), 3) == pytest.approx(
        slow_agreement(flat, draw(50), 3)
    )


def test_agreement_of_half_precision_is_that_of_its_values() -> None:
    teacher = draw(width=8)
    student = teacher.bfloat16()
    assert neighbour_agreement(student, teacher, 5) == pytest.approx(
        slow_agreement(student, teacher, 5)
    )


@pytest.mark.parametrize(
    ("student", "k", "said"),
    [
        (draw(39), 5, "39"),
        (draw(), 40, "k=40"),
        (draw(), 0, "k=0"),
        (draw() * math.nan, 5, "finite"),
    ],
)
def test_what_has_no_agreement_is_refused(student: Tensor, k: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        neighbour_agreement(student, draw(), k)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_effective_rank_equals_the_formula(shape: tuple[int, int]) -> None:
    features = draw(*shape).double() * torch.linspace(0.01, 2, shape[1])
    # the squares of the singular values are the eigenvalues of the smaller product
    small = features @ features.T if shape[0] < shape[1] else features.T @ features
    values = [math.sqrt(max(0.0, float(x))) for x in torch.linalg.eigvalsh(small)]
    shares = [value / sum(values) + 1e-7 for value in values]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_counts_even_directions() -> None:
    assert effective_rank(torch.eye(12)) == pytest.approx(12, rel=1e-4)
    assert effective_rank(torch.eye(12)[:3].repeat(5, 1)) == pytest.approx(3, rel=1e-4)
    assert effective_rank(draw(40, 1) @ draw(1, 20, seed=3)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.zeros(5, 3)) == pytest.approx(1, abs=1e-3)
    assert math.isnan(effective_rank(torch.full((5, 3), math.inf)))


def test_feature_deviation_is_that_of_unit_vectors() -> None:
    features = draw(30, 4).double() + 1
    total = 0.0
    for d in range(4):
        column = [float(row[d] / row.norm()) for row in features]
        mean = sum(column) / 30
        total += math.sqrt(sum((x - mean) ** 2 for x in column) / 30)
    assert feature_deviation(features) == pytest.approx(total / 4 * 2)
    assert feature_deviation(torch.ones(9, 4)) == 0
    assert feature_deviation(draw(4000, 64)) == pytest.approx(1, abs=0.02)
    assert math.isnan(feature_deviation(torch.full((5, 3), math.nan)))
