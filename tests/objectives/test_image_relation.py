"""ReKD's relation among whole images: what is mined, looked up and refreshed."""

import itertools
import math
from unittest.mock import Mock

import pytest
import torch
from tiny_objective import CLASSES, EPOCHS, QUEUE, SIZE, build, fill, make_batch
from tiny_relation import IMAGES, embeddings, relate
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset
from waits import NoWaits

from solo_rekd.lengths import Training
from solo_rekd.objectives import ReKD
from solo_rekd.objectives.image_relation import embed_online
from solo_rekd.objectives.mixup import Mixed
from solo_rekd.utils.errors import UserError

CLOSE = {"rtol": 0, "atol": 1e-10}
PLACES = torch.tensor([7, 0, 31, 12, 25])


class Images(Dataset):
    """Random images in the order of their places, with labels."""

    def __init__(self):
        g = torch.Generator().manual_seed(5)
        self.images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=g)

    def __len__(self):
        return IMAGES

    def __getitem__(self, place):
        return place, self.images[place], place % CLASSES


class Labelled(Images):
    """The same with their labels at hand, two of them unknown."""

    targets = (-1, -1, *(place % CLASSES for place in range(2, IMAGES)))


def load(**kwargs):
    return DataLoader(Images(), batch_size=7)


@pytest.fixture
def make(monkeypatch):
    def run(mode="frozen", **settings):
        settings = {"num_prototypes": 4, "teacher_warmup_epochs": 0} | settings
        return build(ReKD, monkeypatch, mode, **settings)

    return run


def batch_of(seed=9, **parts):
    return make_batch(seed=seed)._replace(indexes=PLACES, **parts)


def slow_loss(objective, batch, share):
    """The relation loss image by image: a cross-entropy with the own key, and with relatives."""
    tau, means = objective.config.temperature, objective.relation.relatives.means
    total = 0
    for v, w in ((0, 1), (1, 0)):
        queries = normalize(objective.projector(batch.features[v]), dim=1)
        taught = objective.teacher(batch.images[v])[1]
        entries = objective.queues[w]["teacher"]
        for i, place in enumerate(PLACES):
            log_z = (torch.stack([taught[i], *entries]) @ queries[i] / tau).logsumexp(0)
            own = log_z - taught[i] @ queries[i] / tau
            related = log_z - means[place] @ queries[i] / tau
            total = total + (1 - share) * own + share * related
    return total / (2 * len(PLACES))


@pytest.mark.parametrize("relation", ["prototypes", "similarity", "random"])
@pytest.mark.parametrize(("schedule", "epoch"), [("constant", 3), ("falling", 3)])
def test_loss_equals_a_slow_loop(make, relation, schedule, epoch):
    objective = relate(make(relation=relation, relation_schedule=schedule, own_weight=0.6))
    objective, batch = fill(objective), batch_of()
    falls = (1 + math.cos(math.pi * epoch / EPOCHS)) / 2 if schedule == "falling" else 1
    expected = slow_loss(objective, batch, 0.4 * falls)
    _, logs = objective(batch, epoch=epoch)
    torch.testing.assert_close(logs["relation_loss"], expected, **CLOSE)
    parameters = [*objective.projector.parameters()]
    gradients = [
        torch.autograd.grad(loss, parameters, retain_graph=True)
        for loss in (logs["relation_loss"], expected)
    ]
    torch.testing.assert_close(*gradients, **CLOSE)


def test_pretrained_defaults_relate_whole_images_on_the_teachers_dictionary(make):
    config = make(num_prototypes="auto").config
    assert config.relation == "similarity"
    assert make(num_prototypes="auto", prototype_levels=2).config.relation == "prototypes"
    assert make(num_prototypes="auto", dictionary="both").config.relation == "prototypes"
    config = make().config
    assert config.relation == "prototypes"
    assert (config.dictionary, config.relation_view, config.temperature) == (
        "teacher",
        "image",
        0.07,
    )
    assert not config.reads_momentum
    config = make("pretrained").config
    assert (config.dictionary, config.relation_view) == ("teacher", "image")
    config = make("online").config
    assert (config.dictionary, config.relation_view, config.temperature) == ("both", "views", 0.2)


def test_an_image_without_relatives_keeps_all_weight_on_its_own_key(make):
    objective, batch = fill(relate(make())), batch_of()
    found = objective.relation.relatives.found.clone().fill_(False)
    means = torch.zeros_like(objective.relation.relatives.means)
    objective.relation.relatives = objective.relation.relatives._replace(found=found, means=means)
    expected = slow_loss(objective, batch, 0.0)
    _, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["relation_loss"], expected, **CLOSE)


def test_own_weight_1_is_the_control_without_a_relation(make):
    objective, batch = fill(relate(make(own_weight=1.0))), batch_of()
    other = fill(relate(make(own_weight=1.0), seed=4))
    torch.testing.assert_close(objective(batch, 0)[0], other(batch, 0)[0], **CLOSE)


def test_mixed_images_have_mixed_relatives(make):
    mixed = Mixed(0.7, torch.tensor([1, 2, 3, 4, 0]))
    objective = fill(relate(make(mixup=1.0)))
    batch = batch_of(mixed=mixed)
    means = objective.relation.relatives.means
    means = means.index_put((PLACES,), mixed.rows(means[PLACES]))
    relatives = objective.relation.relatives._replace(means=means)
    objective.relation.relatives, before = relatives, objective.relation.relatives
    expected = slow_loss(objective, batch, 0.5)
    objective.relation.relatives = before
    _, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["relation_loss"], expected, **CLOSE)


def test_the_relation_counts_from_the_first_step(make):
    objective = relate(make())
    _, logs = objective(batch_of(), epoch=0)
    assert "relation_loss" in logs
    assert "nce_loss" not in logs


@pytest.mark.parametrize("dictionary", ["student", "both"])
def test_in_the_students_dictionary_relatives_share_a_prototype_of_the_images(make, dictionary):
    objective = fill(relate(make(dictionary=dictionary)))
    ids = objective.relation.relatives.ids
    _, logs = objective(batch_of(), epoch=0)
    assert "relation_loss" in logs
    assert torch.equal(
        objective.queues[0]["ids"][: QUEUE - 7], objective.queues[1]["ids"][: QUEUE - 7]
    )
    assert set(objective.queues[0]["ids"].tolist()) <= set(ids.tolist())
    assert logs["positives_per_query"] > 0


def test_purity_is_that_of_the_labels_of_all_images_from_the_first_step_on(make):
    objective = make(relation="similarity")
    objective.relate_images(DataLoader(Labelled()), embeddings())
    labels = torch.tensor(Labelled.targets)
    for places in torch.arange(IMAGES).split(5):
        _, logs = objective(make_batch()._replace(indexes=places), epoch=0)
        same = known = 0
        for place in places.tolist():
            for mate in objective.relation.relatives.nearest[place].tolist():
                known += labels[mate] >= 0 and labels[place] >= 0
                same += labels[mate] == labels[place] >= 0
        assert float(logs["relation_purity"]) == pytest.approx(float(same / known))


def test_a_resumed_run_has_the_same_purity(make):
    runs = []
    for steps in (range(4), range(2, 4)):  # the second has lost what the first steps left behind
        objective = make()
        objective.relate_images(DataLoader(Labelled()), embeddings())
        batches = [make_batch()._replace(indexes=PLACES + step) for step in steps]
        runs.append([float(objective(batch, epoch=0)[1]["relation_purity"]) for batch in batches])
    assert runs[0][2:] == runs[1] and 0 < runs[1][0] < 1


def test_purity_needs_a_data_set_whose_labels_are_at_hand(make):
    objective = relate(make())
    _, logs = objective(batch_of(), epoch=0)
    assert "relation_purity" not in logs


def test_without_labels_nothing_is_said_of_purity(make):
    objective = make()
    objective.relate_images(DataLoader(Labelled()), embeddings())
    nobody = torch.full((5,), -1)
    _, logs = objective(batch_of(labels=nobody), epoch=0)
    assert "relation_purity" not in logs


def test_no_step_waits_for_the_device(make):
    objective = fill(relate(make(relation="similarity")))
    objective(batch_of(), epoch=0)
    with NoWaits():
        loss, _ = objective(batch_of(), epoch=0)
        loss.backward()


def test_a_frozen_teacher_relates_the_images_before_the_training(make, monkeypatch):
    objective = make().float()
    said = objective.teacher(Images().images)[1]
    monkeypatch.setattr(ReKD, "embed_images", lambda self, images: said)
    objective.before_training(load, Training(IMAGES, 5, 8, EPOCHS))
    first = objective.relation
    assert len(first.relatives.means) == IMAGES
    objective.before_epoch(load, 0)
    assert objective.relation is first


@pytest.mark.parametrize("mode", ["pretrained", "online"])
@pytest.mark.parametrize("refresh", [1, 2])
def test_an_online_teacher_relates_them_anew(make, mode, refresh):
    settings = {"relation_view": "image", "relation_refresh": refresh, "dictionary": "teacher"}
    objective = make(mode, **settings).float()
    objective.before_training(load, Training(IMAGES, 5, 8, EPOCHS))
    assert objective.relation is None
    modes = [module.training for module in objective.modules()]
    relations = []
    for epoch in range(4):
        objective.before_epoch(load, epoch)
        relations.append(objective.relation)
        with torch.no_grad():
            for parameter in objective.teacher.momentum_backbone.parameters():
                parameter.mul_(1.1)
    assert [module.training for module in objective.modules()] == modes
    renewed = [now is not before for before, now in itertools.pairwise(relations)]
    assert renewed == [(epoch % refresh) == 0 for epoch in (1, 2, 3)]
    # a run that is resumed between has none yet
    objective.relation = None
    objective.before_epoch(load, 3)
    assert objective.relation is not None


def test_the_images_are_listed_once_for_the_teacher_and_the_labels(make):
    objective, lists = make("pretrained", relation_refresh=1).float(), Mock(side_effect=load)
    for epoch in range(2):
        objective.before_epoch(lists, epoch)
        assert lists.call_count == epoch + 1


def test_the_embeddings_of_an_online_teacher_are_its_twins(make):
    objective = make("pretrained").float()
    objective.before_epoch(load, 0)
    found = embed_online(objective.teacher, load())
    torch.testing.assert_close(found, objective.teacher.key(Images().images)[1], rtol=0, atol=1e-6)


def test_a_teacher_from_scratch_waits_for_its_warm_up(make):
    objective = make("online", relation_view="image", teacher_warmup_epochs=2).float()
    for epoch in range(3):
        objective.before_epoch(load, epoch)
        assert (objective.relation is not None) == (epoch == 2)


@pytest.mark.parametrize("images", [Images, Labelled])
def test_the_control_by_labels_reads_them_all(make, images):
    objective = make(relation="labels").float()
    objective.relate_images(DataLoader(images()), embeddings().float())
    ids = objective.relation.relatives.ids
    assert torch.equal(ids[2:], torch.arange(2, IMAGES) % CLASSES)


@pytest.mark.parametrize(
    "settings",
    [
        {"own_weight": "uniform", "relation_view": "image"},
        {"assignment_temperature": 0.1, "relation_view": "image"},
        {"relation": "similarity", "relation_view": "views"},
        {"relation": "similarity", "dictionary": "student"},
        {"prototype_levels": 2, "relation_view": "views"},
    ],
)
def test_settings_without_a_meaning_together_are_refused(make, settings):
    with pytest.raises(UserError, match="="):
        make(**settings)
