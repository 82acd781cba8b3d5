import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from solo_rekd.modules.prototypes import assign, spherical_kmeans
from solo_rekd.modules.relatives import (
    SHOWN,
    by_groups,
    by_prototypes,
    by_similarity,
    group_mates,
)

CLOSE = {"rtol": 0, "atol": 1e-12}


def points(number=60, dim=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(number, dim, generator=g, dtype=torch.float64), dim=1)


def slow_means(embeddings, ids):
    """The mean of the other images of the same group, image by image."""
    means = torch.zeros_like(embeddings)
    for i in range(len(ids)):
        mates = [j for j in range(len(ids)) if j != i and ids[j] == ids[i] and ids[i] >= 0]
        if mates:
            means[i] = sum(embeddings[j] for j in mates) / len(mates)
    return means


def test_groups_are_the_means_of_their_others():
    embeddings = points()
    ids = torch.randint(-1, 7, (60,), generator=torch.Generator().manual_seed(1))
    ids[3] = 7  # alone
    found = by_groups(embeddings, ids, 8)
    torch.testing.assert_close(found.means, slow_means(embeddings, ids.tolist()), **CLOSE)
    assert torch.equal(found.found, (ids >= 0) & (ids != 7))
    assert torch.equal(found.ids, ids)


def test_prototypes_are_those_of_k_means():
    embeddings = points()
    found = by_prototypes(embeddings, 5)
    assert len(found.ids.unique()) <= 5
    torch.testing.assert_close(found.means, slow_means(embeddings, found.ids.tolist()), **CLOSE)
    # the images come in an order of chance
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    ids = assign(spherical_kmeans(embeddings[order], 5), embeddings)[1]
    assert torch.equal(found.ids, ids)


def test_several_banks_are_a_mean_of_each():
    embeddings = points()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    means, counts = torch.zeros_like(embeddings), torch.zeros(60, 1)
    for number in (2, 6, 15):  # the third would be 18, more than a quarter of the images
        ids = assign(spherical_kmeans(embeddings[order], number), embeddings)[1].tolist()
        level = slow_means(embeddings, ids)
        means += level
        counts += (level != 0).any(1, keepdim=True)
    found = by_prototypes(embeddings, 2, levels=3)
    torch.testing.assert_close(found.means, means / counts.clamp(min=1), **CLOSE)


def test_more_prototypes_than_a_quarter_of_the_images_are_not_made():
    found = by_prototypes(points(), 50)
    assert 1 < len(found.ids.unique()) <= 15
    one = by_prototypes(points(number=2), 50)
    assert one.found.all()
    torch.testing.assert_close(one.means, points(number=2).flip(0), **CLOSE)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("number", [2, 60, 1500])  # more than are compared at a time
def test_similarity_is_a_softmax_over_the_others(temperature, number):
    embeddings = points(number)
    found = by_similarity(embeddings, temperature)
    for i in (0, number // 2, number - 1):
        others = torch.tensor([j for j in range(number) if j != i])
        weights = (embeddings[others] @ embeddings[i] / temperature).softmax(0)
        torch.testing.assert_close(found.means[i], weights @ embeddings[others], **CLOSE)
        nearest = others[weights.argsort(descending=True)[:SHOWN]]
        assert torch.equal(found.nearest[i], nearest)


@pytest.mark.parametrize(
    "relate", [lambda x: by_similarity(x, 0.1), lambda x: by_groups(x, torch.arange(60) % 4, 4)]
)
def test_half_precision_is_widened(relate):
    embeddings = points().float()
    half = relate(embeddings.half())
    assert half.means.dtype == torch.float32
    torch.testing.assert_close(half.means, relate(embeddings).means, rtol=0, atol=2e-2)


def test_mates_are_others_of_the_group():
    ids = torch.tensor([0, 1, -1, 0, 2, 1, 0, -1])
    mates = group_mates(ids, torch.arange(8))
    assert mates.shape == (8, SHOWN)
    shown = [sorted(m for m in row.tolist() if m >= 0) for row in mates]
    assert shown == [[3, 6], [5], [], [6], [], [], [], []]


def test_mates_of_a_large_group_are_ten_each_but_for_its_last():
    ids = torch.zeros(500, dtype=torch.long)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    mates = group_mates(ids, order)
    assert (mates >= 0).sum() == 500 * SHOWN - SHOWN * (SHOWN + 1) // 2
    assert not (mates == torch.arange(500)[:, None]).any()


def test_one_image_has_no_relatives():
    found = by_similarity(points(number=1), 0.1)
    assert not found.found.any()
    assert torch.equal(found.means, torch.zeros(1, 6, dtype=torch.float64))


# images, of which some are duplicates of others
IMAGES = st.lists(st.integers(0, 11), min_size=1, max_size=40)
RELATIONS = {
    "similarity": lambda embeddings, ids: by_similarity(embeddings, 0.1),
    "groups": lambda embeddings, ids: by_groups(embeddings, ids, 12),
}


@pytest.mark.parametrize("relation", RELATIONS)
@given(IMAGES, st.randoms(use_true_random=False))
def test_the_order_of_the_images_is_no_matter(relation, images, random):
    ids, some = torch.tensor(images), points(12, 4)
    order = torch.tensor(random.sample(range(len(ids)), len(ids)))
    relate = RELATIONS[relation]
    found, moved = relate(some[ids], ids), relate(some[ids[order]], ids[order])
    torch.testing.assert_close(moved.means, found.means[order], **CLOSE)
    assert torch.equal(moved.found, found.found[order])


@given(IMAGES, st.integers(1, 1000), st.integers(1, 5))
def test_any_bank_relates_any_images(images, number, levels):
    ids = torch.tensor(images)
    found = by_prototypes(points(12, 4)[ids], number, levels)
    assert found.means.isfinite().all() and (found.means.norm(dim=1) < 1 + 1e-9).all()
    assert (found.means[~found.found] == 0).all()
    assert (found.ids >= 0).all() and (found.ids < max(1, min(number, len(ids) // 4))).all()
    # duplicates are of one prototype, and so relatives
    same = ids[:, None] == ids
    assert (found.ids[:, None] == found.ids)[same].all()
    assert (found.found | (same.sum(1) == 1)).all()
    mates = found.nearest
    assert ((mates >= -1) & (mates < len(ids))).all()
    assert (mates != torch.arange(len(ids))[:, None]).all()
    known = mates >= 0
    assert (found.ids[mates.clamp(min=0)] == found.ids[:, None])[known].all()
