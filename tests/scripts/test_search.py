"""The search for a relation that pays: its relations against loops, and a run of each form."""

import pytest
import torch
from search.forms import Form, read_form
from search.relations import Miner, estimate_neighbours
from search.train import own_target, share_of_relation, train
from torch.nn.functional import normalize

from solo_rekd.modules.relatives import by_similarity

IMAGES, DIM, CLASSES, SIDE = 48, 8, 3, 64
CLOSE = {"rtol": 0, "atol": 1e-5}
RELATIONS = ("online", "groups", "soft", "mutual", "views", "labels")


def unit(*size, seed=0):
    return normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture(scope="module")
def drawn():
    """What a file of views holds, of a few images of noise."""
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(IMAGES) % CLASSES

    def pixels(*shape):
        return torch.randint(0, 256, (*shape, 3, SIDE, SIDE), generator=g, dtype=torch.uint8)

    return {
        "views.pixels": pixels(IMAGES, 4),
        "views.embeddings": unit(IMAGES, 4, DIM),
        "views.features": unit(IMAGES, 4, 2 * DIM).half(),
        **{f"{part}.pixels": pixels(IMAGES) for part in ("train", "tune")},
        **{f"{part}.labels": labels for part in ("train", "tune")},
        "train.embeddings": unit(IMAGES, DIM, seed=2),
        "train.features": unit(IMAGES, 2 * DIM, seed=3),
    }


def mine(drawn, **settings):
    form = Form(groups=4, **settings)
    mates = drawn["views.embeddings"][:, :2]
    return Miner(form, drawn["train.embeddings"], drawn["train.labels"], mates)


def test_a_form_is_read():
    form = read_form("own=0.2+relation=groups+levels=3+sure=True")
    assert form == Form(own=0.2, relation="groups", levels=3, sure=True)
    assert read_form("own=1").own == 1.0


def test_soft_weights_are_those_of_the_package(drawn):
    miner = mine(drawn, relation="soft", reach="data", blur=0.3)
    means = miner.table.weights @ drawn["train.embeddings"]
    torch.testing.assert_close(means, by_similarity(drawn["train.embeddings"], 0.3).means, **CLOSE)


@pytest.mark.parametrize("relation", ["groups", "labels", "random"])
def test_groups_share_their_weight_evenly(drawn, relation):
    miner = mine(drawn, relation=relation)
    places, entries = torch.arange(5), torch.arange(5, IMAGES)
    weights = miner.relate(places, entries).weights
    (ids,) = miner.ids
    for i in places:
        mates = [j for j, e in enumerate(entries) if ids[e] == ids[i]]
        expected = torch.zeros(len(entries))
        expected[mates] = 1 / max(1, len(mates))
        torch.testing.assert_close(weights[i], expected)


def test_mutual_neighbours_are_each_others(drawn):
    near, whole = 6, drawn["train.embeddings"]
    weights = mine(drawn, relation="mutual", near=near, reach="data").table.weights
    close = whole @ whole.T
    close.fill_diagonal_(-1)
    lists = close.topk(near, dim=1).indices.tolist()
    for i in range(IMAGES):
        mates = {j for j in lists[i] if i in lists[j]}
        assert set(weights[i].nonzero().flatten().tolist()) == mates


def test_the_number_of_neighbours_follows_what_two_views_agree_on(drawn):
    whole = drawn["train.embeddings"]
    agreeing = whole[:, None].expand(-1, 2, -1)
    assert estimate_neighbours(whole, agreeing) == 50  # all of them
    strangers = unit(IMAGES, 2, DIM, seed=9)
    assert estimate_neighbours(whole, strangers) < 50 or IMAGES <= 50


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("flat", (0.6, 0.6, 0.6)),
        ("fall", (0.6, 0.3, 0)),
        ("rise", (0, 0.3, 0.6)),
        ("half", (0.6, 0, 0)),
    ],
)
def test_schedules(schedule, shares):
    form = Form(own=0.4, schedule=schedule)
    assert [share_of_relation(form, done) for done in (0, 0.5, 1)] == pytest.approx(shares)


def test_a_soft_own_target_is_seeds(drawn):
    class Entries:
        keys = unit(20, DIM, seed=4)

    own = unit(5, DIM, seed=5)
    dictionary = torch.cat([own[:1], Entries.keys])
    weights = (own[0] @ dictionary.T / 0.07).softmax(0)
    found = own_target(Form(target="soft"), own, Entries)
    torch.testing.assert_close(found[0], weights @ dictionary, **CLOSE)


@pytest.mark.parametrize(
    "text",
    [
        "own=1+target=soft",
        "relation=groups+levels=2+sure=True+schedule=fall",
        *(
            pytest.param(form, marks=pytest.mark.slow)
            for form in (
                "own=1",
                *(f"relation={name}" for name in RELATIONS),
                "relation=soft+reach=data+mixup=True+head=linear+key=image+space=features",
            )
        ),
    ],
)
def test_a_run_of_every_form(drawn, text):
    score = train(read_form(f"{text}+queue=32+groups=4"), drawn, "mobilenet_v3_small", 0, 4)
    assert 0 <= score.linear <= 100
    assert 0 <= score.knn <= 100
    assert (score.purity > 0) == ("relation" in text)
