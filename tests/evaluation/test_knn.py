"""The weighted kNN against a slow loop, and what must not change its figures."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from solo_rekd.evaluation.knn import DISTANCES, weighted_knn
from solo_rekd.utils.errors import UserError


def make(
    seed: int = 0, train: int = 60, test: int = 30, classes: int = 7
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features that lie about the centre of their class: train, labels, test, labels."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=g)
    labels, asked = (torch.randint(0, classes, (n,), generator=g) for n in (train, test))
    return (
        centres[labels] + torch.randn(train, 6, generator=g),
        labels,
        centres[asked] + torch.randn(test, 6, generator=g),
        asked,
    )


def slow(
    train: Tensor, labels: Tensor, test: Tensor, asked: Tensor, k: int, temperature: float, how: str
) -> tuple[float, float]:
    """The same by the formula, an image at a time, without ties."""
    first, among = 0, 0
    for x, label in zip(test.double(), asked.tolist(), strict=True):
        weights = []
        for n, own in zip(train.double(), labels.tolist(), strict=True):
            cosine = float(x @ n / (x.norm() * n.norm()))
            length = float((x - n).norm())
            close = cosine if how == "cosine" else -length
            weight = math.exp(cosine / temperature) if how == "cosine" else 1 / (length + 1e-5)
            weights.append((close, weight, own))
        votes = [0.0] * (1 + int(max(labels.max(), asked.max())))
        for _, weight, own in sorted(weights, reverse=True)[:k]:
            votes[own] += weight
        ranked = sorted(range(len(votes)), key=lambda c: -votes[c])
        first += ranked[0] == label
        among += label in ranked[: min(5, k)]
    return 100 * first / len(test), 100 * among / len(test)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (3, 0.02), (20, 0.07), (60, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula(distance: str, k: int, temperature: float, seed: int) -> None:
    split = make(seed)
    expected = slow(*split, k, temperature, distance)
    assert weighted_knn(*split, k, temperature, distance) == pytest.approx(expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_neither_order_nor_chunks_nor_threads_matter(distance: str) -> None:
    train, labels, test, asked = make(train=400, test=200)
    # many images twice and thrice, so that there are ties at every place
    train, labels = train.repeat(3, 1), torch.cat([labels, labels.flip(0), labels])
    expected = weighted_knn(train, labels, test, asked, 7, distance=distance)
    for seed, chunk in enumerate((1, 1000, 10**7)):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        other = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
        before = torch.get_num_threads()
        torch.set_num_threads(1 + seed)
        try:
            split = train[order], labels[order], test[other], asked[other]
            assert weighted_knn(*split, 7, distance=distance, chunk=chunk) == expected
        finally:
            torch.set_num_threads(before)


def test_neighbours_as_far_as_the_last_share_its_place() -> None:
    # one neighbour at an angle of 0, and two of class 1 against one of class 0 at equal angles
    train = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]):
        split = train[order], labels[order], torch.tensor([[1.0, 0.0]]), torch.tensor([1])
        # places 2 and 3 are shared by three: class 1 gets 4/3 of them, class 0 one and 2/3
        assert weighted_knn(*split, 3, temperature=1e6) == (0.0, 100.0)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_same_point_is_at_distance_zero(distance: str) -> None:
    train, labels, *_ = make(train=50)
    train = train + 100  # norms in which a small distance is lost in float32
    assert weighted_knn(train, labels, train, labels, 1, distance=distance)[0] == 100


def test_classes_may_be_absent_from_either_side() -> None:
    train, test = torch.eye(3), torch.eye(3)
    labels = torch.tensor([0, 7, 2])
    assert weighted_knn(train, labels, test[1:2], labels[1:2], 1) == (100.0, 100.0)
    assert weighted_knn(train[:1], labels[:1], test, labels, 1) == pytest.approx((100 / 3,) * 2)


def test_images_without_labels_take_no_part() -> None:
    train, labels, test, asked = make()
    expected = weighted_knn(train[::2], labels[::2], test[::3], asked[::3])
    labels, asked = labels.clone(), asked.clone()
    labels[1::2] = -1
    asked[1::3] = asked[2::3] = -1
    assert weighted_knn(train, labels, test, asked) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_any_precision(dtype: torch.dtype) -> None:
    train, labels, test, asked = make()
    train, test = train.to(dtype), test.to(dtype)
    expected = slow(train, labels, test, asked, 5, 0.07, "cosine")
    assert weighted_knn(train, labels, test, asked, 5) == pytest.approx(expected)


def test_a_cold_vote_is_no_overflow() -> None:
    split = make()
    assert weighted_knn(*split, 5, 1e-6)[0] == weighted_knn(*split, 1)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": -1}, "labelled training images"),
        ({"asked": -1}, "labelled validation images"),
        ({"train": math.nan}, "training images are not finite"),
        ({"test": math.inf}, "validation images are not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: dict[str, Any], message: str) -> None:
    split = dict(zip(("train", "labels", "test", "asked"), make(), strict=True))
    for name, value in change.items():
        split[name] = torch.full_like(split[name], value)
    with pytest.raises(UserError, match=message):
        weighted_knn(*split.values())
    with pytest.raises(UserError, match=r"distance='manhattan' .* cosine, euclidean"):
        weighted_knn(*make(), distance="manhattan")
