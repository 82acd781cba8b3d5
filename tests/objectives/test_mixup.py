"""Mixing two images of a batch, and what every objective makes of it."""

import pytest
import torch
from tiny_objective import CLASSES, DIM, TEACHER_FEATURES, build, fill, make_batch
from tiny_relation import relate
from torch.nn.functional import log_softmax
from waits import NoWaits

from solo_rekd.objectives import (
    BINGO,
    CRCD,
    OBJECTIVES,
    SEED,
    CompRess,
    CoSS,
    DisCo,
    ReKD,
    SimReg,
)
from solo_rekd.objectives.bags import Bags
from solo_rekd.objectives.mixup import Mixed, class_loss, draw

CLOSE = {"rtol": 0, "atol": 1e-12}
MIXED = Mixed(0.7, torch.tensor([3, 0, 4, 1, 2]))
CASES = {
    "disco": (DisCo, {}),
    "seed": (SEED, {}),
    "compress 1q": (CompRess, {"variant": "1q"}),
    "compress 2q": (CompRess, {"variant": "2q"}),
    "crcd": (CRCD, {}),
    "rekd": (ReKD, {"num_prototypes": 3}),
    "rekd by chance": (ReKD, {"num_prototypes": 3, "relation": "random"}),
    "bingo": (BINGO, {}),
    "simreg": (SimReg, {}),
    "coss": (CoSS, {"neighbours": 0}),
}


def mix_batch(seed):
    """A batch whose images are mixed, as a host hands it on."""
    batch = make_batch(seed=seed)
    return batch._replace(images=[MIXED.rows(view) for view in batch.images], mixed=MIXED)


@pytest.fixture
def make(monkeypatch):
    def run(name, **settings):
        objective_class, given = CASES[name]
        objective = build(objective_class, monkeypatch, "frozen", **given | settings)
        if name == "bingo":
            g = torch.Generator().manual_seed(1)
            units = torch.randn(20, DIM, generator=g, dtype=torch.float64)
            members = torch.arange(20)[:, None].add(torch.arange(1, 4)).remainder(20)
            objective.bags = Bags(members, units / units.norm(dim=1, keepdim=True))
        if isinstance(objective, ReKD):
            relate(objective)
        return objective

    return run


def test_every_objective_is_tried():
    assert {objective_class for objective_class, _ in CASES.values()} == {*OBJECTIVES.values()}


def test_rows_are_mixed_by_their_shares():
    values = torch.randn(5, 2, 3, dtype=torch.float64)
    mixed = MIXED.rows(values)
    for row, partner in enumerate(MIXED.partners.tolist()):
        torch.testing.assert_close(mixed[row], 0.7 * values[row] + 0.3 * values[partner], **CLOSE)


def test_a_draw_is_its_seeds_and_leaves_torchs_random_numbers_alone():
    before = torch.get_rng_state()
    first, again, other = (draw(1.0, 64, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.share == again.share != other.share
    assert torch.equal(first.partners, again.partners)
    assert not torch.equal(first.partners, other.partners)
    assert sorted(first.partners.tolist()) == list(range(64))


def test_the_larger_share_of_a_uniform_draw_is_uniform_above_a_half():
    shares = torch.tensor([draw(1.0, 2, seed).share for seed in range(2000)])
    assert shares.min() >= 0.5 and shares.max() <= 1
    quarters = torch.histc(shares, 4, 0.5, 1) / len(shares)
    assert (quarters - 0.25).abs().max() < 0.04
    # a small alpha hardly mixes, a large one mixes evenly
    means = [sum(draw(alpha, 2, seed).share for seed in range(200)) / 200 for alpha in (0.1, 100)]
    assert means[0] > 0.9 and means[1] < 0.55


@pytest.mark.parametrize("views", [1, 2])
def test_the_cross_entropy_is_with_both_labels_by_their_shares(views):
    logits = torch.randn(5 * views, CLASSES, dtype=torch.float64)
    labels = torch.tensor([0, 2, -1, 1, 1])
    expected = 0
    for share, given in ((0.7, labels), (0.3, labels[MIXED.partners])):
        rows = [
            (v * 5 + i, c) for v in range(views) for i, c in enumerate(given.tolist()) if c >= 0
        ]
        found = [-log_softmax(logits[row], 0)[c] for row, c in rows]
        expected = expected + share * sum(found) / len(found)
    torch.testing.assert_close(class_loss(logits, labels, MIXED), expected, **CLOSE)
    unlabelled = class_loss(logits, torch.full((5,), -1), MIXED)
    assert unlabelled == 0


@pytest.mark.parametrize("name", CASES)
def test_mixed_images_are_as_images_of_their_own(name, make):
    """But for the teacher's classifier, and what is looked up by image."""
    objectives = [fill(make(name, mixup=0.5 * known), epoch=0) for known in (0, 1)]
    batches = [mix_batch(9)._replace(mixed=None), mix_batch(9)]
    (_, plain), (loss, logs) = (
        objective(batch, epoch=0) for objective, batch in zip(objectives, batches, strict=True)
    )
    own = {"teacher_class_loss"}
    if name == "bingo":
        own |= {"inter_loss", "own_similarity", "bag_similarity", "loss_floor"}
    if name.startswith("rekd"):
        own |= {"relation_loss", "loss_floor"}
    assert loss.isfinite()
    for part in set(logs) - own:
        torch.testing.assert_close(logs[part], plain[part], **CLOSE)
    for part in own:
        assert logs[part] != plain[part]


@pytest.mark.parametrize("name", CASES)
def test_what_the_teacher_said_of_each_image_is_mixed(name, make):
    class Kept:
        def look_up(self, indexes, dtype, device):
            g = torch.Generator().manual_seed(2)
            features = torch.randn(20, TEACHER_FEATURES, generator=g, dtype=dtype)
            units = torch.randn(20, DIM, generator=g, dtype=dtype)
            return features[indexes], units[indexes] / units[indexes].norm(dim=1, keepdim=True)

    objective = make(name, teacher_view="image", mixup=1.0)
    objective.taught_images = Kept()
    features, units = Kept().look_up(torch.arange(5), torch.float64, "cpu")
    taught, _, _ = objective.teach(mix_batch(9))
    for row, partner in enumerate(MIXED.partners.tolist()):
        mean = 0.7 * units[row] + 0.3 * units[partner]
        for view in range(2):
            wanted = 0.7 * features[row] + 0.3 * features[partner]
            torch.testing.assert_close(taught.features[view][row], wanted, **CLOSE)
            torch.testing.assert_close(taught.embeddings[view][row], mean / mean.norm(), **CLOSE)
    loss, _ = objective(mix_batch(9), epoch=0)
    assert loss.isfinite()


def test_bags_of_mixed_images_are_mixed_member_by_member(make):
    objective = make("bingo", mixup=1.0)
    batch = mix_batch(9)
    bags = objective.bags
    (_, taught), _, _ = objective.teach(batch)
    _, logs = objective(batch, epoch=0)
    found = []
    for row, partner in enumerate(MIXED.partners.tolist()):
        for one, two in zip(bags.members[row], bags.members[partner], strict=True):
            mean = 0.7 * bags.embeddings[one] + 0.3 * bags.embeddings[two]
            found += [(taught[view][row] * mean / mean.norm()).sum() for view in range(2)]
    torch.testing.assert_close(logs["bag_similarity"], sum(found) / len(found), **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_no_step_waits_for_the_device(name, make):
    objective = fill(make(name, mixup=1.0))
    objective(mix_batch(8), epoch=0)
    batch = make_batch(seed=9)
    with NoWaits():
        mixed = draw(1.0, 5, 3)
        images = [mixed.rows(view) for view in batch.images]
        loss, _ = objective(batch._replace(images=images, mixed=mixed), epoch=0)
        (loss + class_loss(batch.images[0].flatten(1)[:, :3], batch.labels, mixed)).backward()
