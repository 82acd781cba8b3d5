import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from solo_rekd.modules.prototypes import (
    PrototypeBank,
    assign,
    draw_order,
    group_means,
    member_means,
    seed_from,
    soft_assign,
    spherical_kmeans,
)


def clusters(centres=4, members=30, dim=8, noise=0.05):
    generator = torch.Generator().manual_seed(0)
    means = normalize(torch.randn(centres, dim, generator=generator), dim=1)
    labels = torch.arange(centres).repeat(members)
    points = means[labels] + noise * torch.randn(len(labels), dim, generator=generator)
    return normalize(points, dim=1), labels


def test_assign_takes_the_nearest_by_cosine():
    points, _ = clusters()
    prototypes = normalize(torch.randn(5, 8), dim=1)
    similarity, ids = assign(prototypes, points)
    for i, point in enumerate(points):
        similarities = [float(point @ prototype) for prototype in prototypes]
        assert int(ids[i]) == similarities.index(max(similarities))
        assert float(similarity[i]) == pytest.approx(max(similarities), abs=1e-6)


def test_soft_assign_is_the_softmax_of_the_cosines():
    points, _ = clusters()
    prototypes = normalize(torch.randn(5, 8), dim=1)
    shares = soft_assign(prototypes.double(), points.double(), temperature=0.1)
    for i, point in enumerate(points.double()):
        weights = [math.exp(float(point @ prototype) / 0.1) for prototype in prototypes.double()]
        expected = [weight / sum(weights) for weight in weights]
        assert shares[i].tolist() == pytest.approx(expected, abs=1e-12)


def test_member_means_equal_a_loop():
    points, labels = clusters()
    means, counts = member_means(points.double(), labels, 6)
    for c in range(6):
        members = points[labels == c].double()
        assert counts[c] == len(members)
        expected = members.mean(0) if len(members) else torch.zeros(8, dtype=torch.float64)
        torch.testing.assert_close(means[c], expected)


def test_spherical_kmeans_finds_separated_clusters():
    points, labels = clusters()
    prototypes = spherical_kmeans(points, 4)
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(4))
    ids = assign(prototypes, points)[1]
    for c in range(4):
        assert len(ids[labels == c].unique()) == 1
    assert len(ids.unique()) == 4


def test_spherical_kmeans_leaves_no_cluster_empty():
    points, _ = clusters(centres=2, members=50, noise=0.2)
    ids = assign(spherical_kmeans(points, 20), points)[1]
    assert len(ids.unique()) == 20


def test_seeds_are_the_same_for_the_same_seed_and_prefer_the_badly_explained():
    points, _ = clusters()
    similarity = torch.ones(len(points))
    similarity[7] = -1
    drawn = seed_from(points, similarity, 1, seed=3)
    torch.testing.assert_close(drawn[0], points[7])
    repeated = [seed_from(points, torch.zeros(len(points)), 5, seed=9) for _ in range(2)]
    assert torch.equal(*repeated)


@pytest.mark.parametrize("chunk", [4, 4096])
def test_group_means_equal_a_loop_and_are_one_number_a_group(chunk, monkeypatch):
    monkeypatch.setattr("solo_rekd.modules.prototypes.CHUNK", chunk)
    points, _ = clusters(members=7)
    ids = torch.randint(0, 9, (len(points),), generator=torch.Generator().manual_seed(2)) * 1000
    means = group_means(points.double(), ids)
    for i, group in enumerate(ids):
        torch.testing.assert_close(means[i], points[ids == group].double().mean(0))
    single = group_means(points, ids)
    for group in ids.unique():
        assert len(single[ids == group].unique(dim=0)) == 1


def test_the_order_of_a_draw_is_that_of_its_seed_and_prefers_the_badly_explained():
    similarity = torch.ones(50)
    similarity[7], similarity[9] = -1, torch.nan
    orders = torch.stack([draw_order(similarity, seed) for seed in range(20)])
    assert orders[:, 0].tolist() == [7] * 20
    assert all(order.sort().values.tolist() == [*range(50)] for order in orders)
    assert torch.equal(draw_order(similarity, 3), orders[3])
    assert len(orders.unique(dim=0)) == 20


def test_a_draw_is_as_likely_as_its_weights():
    # of weights 3, 1, 0: the first is drawn first in three of four draws
    similarity = torch.tensor([-2.0, 0.0, 1.0])
    first = torch.tensor([int(draw_order(similarity, seed)[0]) for seed in range(2000)])
    assert float((first == 0).float().mean()) == pytest.approx(0.75, abs=0.03)


def started(**settings):
    points, _ = clusters()
    bank = PrototypeBank(4, 8, **{"momentum": 0.9, "patience": 300, **settings})
    assert not bank.ready
    assert (bank.assign(points) == -1).all()
    bank.start(points)
    assert bank.ready
    return bank, points


def update(bank, embeddings):
    bank.update(embeddings, bank.assign(embeddings))


def test_update_is_the_momentum_rule():
    bank, points = started()
    before, ids = bank.prototypes.clone(), bank.assign(points)
    chosen = points[ids != 2]
    update(bank, chosen)
    for c in range(4):
        if c == 2:
            torch.testing.assert_close(bank.prototypes[c], before[c])
            continue
        expected = normalize(0.9 * before[c] + 0.1 * points[ids == c].mean(0), dim=0)
        torch.testing.assert_close(bank.prototypes[c], expected)


def test_a_prototype_without_members_is_seeded_anew():
    bank, points = started()
    ids = bank.assign(points)
    chosen = points[ids != 2]
    assert len(chosen) == 90
    before = bank.prototypes[2].clone()
    for _ in range(3):
        update(bank, chosen)  # 270 embeddings: patience lasts
    assert torch.equal(bank.prototypes[2], before)
    assert bank.idle.tolist() == [0, 0, 270, 0]
    update(bank, chosen)
    assert any(torch.equal(bank.prototypes[2], point) for point in chosen)
    assert bank.idle.tolist() == [0, 0, 0, 0]


def test_more_idle_prototypes_than_embeddings_are_seeded_in_turn():
    bank, points = started(patience=2)
    lost = normalize(torch.tensor([[1.0] + [0.0] * 7]), dim=1)
    bank.prototypes.copy_(torch.cat([-lost, lost, lost, lost]))
    for step, waiting in enumerate(([3], [])):  # of a batch of two, two are seeded
        update(bank, normalize(-lost + 0.01 * points[2 * step : 2 * step + 2], dim=1))
        untouched = (bank.prototypes == lost).all(1).nonzero()[:, 0].tolist()
        assert untouched == waiting
    assert bank.idle[3] == 0


def test_two_banks_with_the_same_batches_stay_the_same():
    (first, points), (second, _) = started(patience=1), started(patience=1)
    for step in range(10):
        torch.manual_seed(step if step % 2 else 100 + step)  # the global generator plays no part
        batch = points[(torch.arange(7) * 3 + step) % len(points)]
        update(first, batch)
        torch.rand(3)
        update(second, batch)
    assert torch.equal(first.prototypes, second.prototypes)


def test_the_order_of_a_batch_does_not_matter():
    (first, points), (second, _) = started(), started()
    update(first, points)
    update(second, points[torch.randperm(len(points), generator=torch.Generator().manual_seed(1))])
    torch.testing.assert_close(first.prototypes, second.prototypes)


def test_half_precision_embeddings_are_taken():
    bank, points = started()
    assert torch.equal(bank.assign(points.bfloat16()), bank.assign(points.bfloat16().float()))
    update(bank, points.bfloat16())


def test_mixed_precision_does_not_reach_the_miner():
    # close together, as a young teacher's embeddings are: half precision merges their neighbours
    points, _ = clusters(centres=1, members=200, noise=0.02)

    def mine():
        bank = PrototypeBank(20, 8, momentum=0.9, patience=300)
        bank.start(points)
        ids = bank.assign(points)
        bank.update(points, ids)
        return bank.prototypes, ids, soft_assign(bank.prototypes, points, temperature=0.1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mine()
    for got, expected in zip(mixed, mine(), strict=True):
        assert torch.equal(got, expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 30), st.data())
def test_a_bank_stays_one_of_unit_vectors_whatever_it_sees(images, number, data):
    some = normalize(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    start = some[torch.tensor(images)]
    bank = PrototypeBank(min(number, len(start)), 3, momentum=0.5, patience=5)
    bank.start(start)
    for _ in range(3):
        batch = some[torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=8)))]
        ids = bank.assign(batch)
        order = torch.tensor(data.draw(st.permutations(range(len(batch)))))
        assert torch.equal(bank.assign(batch[order]), ids[order])
        # where none is seeded anew, by chance, the order of a batch is no matter
        patient = [copy.deepcopy(bank) for _ in range(2)]
        for each, rows in zip(patient, (order, torch.arange(len(batch))), strict=True):
            each.patience = 10**6
            each.update(batch[rows], ids[rows])
        torch.testing.assert_close(patient[0].prototypes, patient[1].prototypes)
        bank.update(batch, ids)
        torch.testing.assert_close(bank.prototypes.norm(dim=1), torch.ones(len(bank.prototypes)))
        assert (bank.idle >= 0).all()
