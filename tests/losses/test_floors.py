"""Floors of losses: no student comes below, and the best one reaches them."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.losses import (
    bag_contrast_loss,
    bag_floor,
    contrast_floor,
    info_nce_loss,
    relation_target,
    similarity_distillation,
    target_contrast_loss,
)

CLOSE = {"rtol": 0, "atol": 1e-10}


def unit(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=-1)


def best(loss, number: int, dim: int) -> Tensor:
    """The least loss that gradient descent on free unit queries finds, of each query's own."""
    query = unit(number, dim, seed=9).requires_grad_()
    optimizer = torch.optim.Adam([query], lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        value = loss(normalize(query, dim=1))
        value.backward()
        optimizer.step()
    return loss(normalize(query, dim=1)).detach()


@pytest.mark.parametrize("form", ["seed", "queue first", "1q", "2q"])
def test_similarity_reaches_the_entropy_of_the_target_where_the_student_is_the_teacher(form):
    taught, entries = unit(6, 5, seed=1), unit(20, 5, seed=2)
    own = taught if form == "seed" else None
    queue = torch.cat([taught, entries]) if form == "queue first" else entries
    # two networks' dictionaries with the same similarities: one is the other turned
    turn = torch.linalg.qr(torch.randn(5, 5).double()).Q if form == "2q" else torch.eye(5).double()
    dictionary = queue @ turn if form == "2q" else queue
    query = (taught @ turn).requires_grad_()
    loss, floor = similarity_distillation(query, dictionary, taught, queue, 0.1, 0.1, own)
    torch.testing.assert_close(loss.detach(), floor, **CLOSE)
    assert not floor.requires_grad
    # from the definition
    total = 0.0
    for i, row in enumerate(taught):
        keys = [*queue, *([] if own is None else [own[i]])]
        p = torch.softmax(torch.stack([row @ key / 0.1 for key in keys]), 0)
        total -= float((p * p.log()).sum()) / 6
    assert float(floor) == pytest.approx(total, abs=1e-10)
    others, same = similarity_distillation(
        unit(6, 5, seed=7), dictionary, taught, queue, 0.1, 0.1, own
    )
    assert others > same == floor


@pytest.mark.parametrize(("tau", "tau_t"), [(0.2, 0.01), (0.07, 0.07), (0.2, 0.05)])
def test_no_student_comes_below_the_floor_at_any_temperatures(tau, tau_t):
    taught, queue = unit(6, 8, seed=1), unit(300, 8, seed=2)

    def loss(query):
        return similarity_distillation(query, queue, taught, queue, tau, tau_t, own=taught)[0]

    floor = similarity_distillation(taught, queue, taught, queue, tau, tau_t, own=taught)[1]
    least = best(loss, 6, 8)
    assert floor <= least + 1e-9
    # far tighter than the entropy, which is near 0 for a sharp target
    assert least - floor < 0.5 * (least + 0.2)


def test_half_precision_keeps_the_floor_of_a_shared_dictionary():
    taught, queue = unit(6, 8, seed=1).bfloat16(), unit(300, 8, seed=2).bfloat16()
    _, half = similarity_distillation(taught, queue, taught, queue, 0.2, 0.01, taught)
    wide, queue = taught.double(), queue.double()
    _, floor = similarity_distillation(wide, queue, wide, queue, 0.2, 0.01, wide)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(floor), abs=1e-4)


@pytest.mark.parametrize("temperature", [0.03, 0.2, 1.0])
def test_the_floor_of_info_nce_is_reached_where_the_queue_is_one_point(temperature):
    key, point = unit(6, 5, seed=1), unit(1, 5, seed=2)
    queue = point.repeat(40, 1)
    floor = contrast_floor(key, queue, key, temperature)
    query = normalize(key - point, dim=1)
    loss = info_nce_loss(query, key, queue, temperature)
    torch.testing.assert_close(floor.mean(), loss, rtol=0, atol=1e-3)
    exact = [math.log(1 + 40 * math.exp(-float((k - point).norm()) / temperature)) for k in key]
    assert floor.tolist() == pytest.approx(exact, abs=1e-3)
    assert all(bound <= value + 1e-12 for bound, value in zip(floor.tolist(), exact, strict=True))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_no_query_comes_below_the_floor_of_a_contrast(own, inside):
    key, queue = unit(5, 6, seed=1), unit(50, 6, seed=2)
    weights = torch.softmax(torch.randn(5, 50, generator=torch.Generator().manual_seed(3)), 1)
    target = weights.double() @ queue if inside else unit(5, 6, seed=4)
    floor = contrast_floor(key if own else None, queue, target, 0.2)

    def loss(query):
        logits = query @ queue.T / 0.2
        if own:
            logits = torch.cat([(query * key).sum(1, keepdim=True) / 0.2, logits], 1)
        return (logits.logsumexp(1) - (query * target).sum(1) / 0.2).mean()

    assert floor.mean() <= best(loss, 5, 6) + 1e-9
    if own:
        torch.testing.assert_close(
            loss(key), target_contrast_loss(key, key, queue, target, 0.2), **CLOSE
        )


def test_no_query_comes_below_the_floor_of_a_bag():
    positives, queue = unit(5, 4, 6, seed=1), unit(50, 6, seed=2)
    floor = bag_floor(positives.mean(1), queue, 0.2)

    def loss(query):
        return bag_contrast_loss(query, positives, queue, 0.2).mean()

    assert 0 < floor.mean() <= best(loss, 5, 6) + 1e-9


def test_the_floor_of_a_bag_is_reached_where_its_members_are_one_and_the_queue_is_too():
    key, point = unit(5, 6, seed=1), unit(1, 6, seed=2)
    positives, queue = key[:, None].repeat(1, 3, 1), point.repeat(30, 1)
    loss = bag_contrast_loss(normalize(key - point, dim=1), positives, queue, 0.2)
    torch.testing.assert_close(bag_floor(key, queue, 0.2).mean(), loss.mean(), **CLOSE)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("own_weight", [0.3, "uniform", 1.0])
def test_the_entropy_of_the_relations_target_equals_the_slow_loop(own_weight, soft):
    ids = torch.tensor([0, 1, 2, -1, 0])
    queue_ids = torch.tensor([0, 0, 1, -1, 0, 1, -1, 0])  # of prototype 2 there is no entry
    key, queue = unit(5, 4, seed=1), unit(8, 4, seed=2)
    shares = None
    if soft:
        drawn = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
        shares = torch.softmax(drawn, 1)
    target, entropy = relation_target(key, queue, ids, queue_ids, 3, own_weight, shares)
    for i, own in enumerate(ids.tolist()):
        members = (queue_ids == own) & (own >= 0)
        number = int(members.sum())
        w = 1.0 if number == 0 else 1 / (1 + number) if own_weight == "uniform" else own_weight
        present = [c for c in (0, 1) if soft or c == own]
        p = {c: float(shares[i, c]) if soft else 1.0 for c in present}
        weights = [w]
        vector = w * key[i]
        for j, c in enumerate(queue_ids.tolist()):
            if c in p:
                weight = (1 - w) * p[c] / sum(p.values()) / int((queue_ids == c).sum())
                weights.append(weight)
                vector = vector + weight * queue[j]
        expected = -sum(x * math.log(x) for x in weights if x > 0)
        assert float(entropy[i]) == pytest.approx(expected, abs=1e-9)
        torch.testing.assert_close(target[i], vector, **CLOSE)
