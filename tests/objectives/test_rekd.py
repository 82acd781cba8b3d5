import pytest
import torch
from tiny_objective import (
    QUEUE,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)
from torch import nn
from torch.nn.functional import normalize

from solo_rekd.lengths import Training
from solo_rekd.modules.queue import KeyQueue
from solo_rekd.objectives import ReKD
from solo_rekd.objectives.image_relation import random_groups
from solo_rekd.objectives.rekd import relation_metrics
from solo_rekd.utils.errors import UserError

PROTOTYPES = 4


@pytest.fixture(params=["online", "frozen"])
def mode(request):
    return request.param


@pytest.fixture
def make(monkeypatch):
    """Builds a float64 ReKD with a tiny teacher."""

    def run(mode="online", **settings):
        settings = {
            "num_prototypes": PROTOTYPES,
            "teacher_warmup_epochs": 0,
            "relation_view": "views",
        } | settings
        return build(ReKD, monkeypatch, mode, **settings)

    return run


def contrast(query, own, entries, ids, entry_ids, tau, own_weight):
    """The cross-entropy of one query, entry by entry."""
    log_p = torch.log_softmax(torch.stack([own, *entries]) @ query / tau, 0)
    members = [j for j, c in enumerate(entry_ids) if c == ids and ids >= 0]
    weight = (1 / (1 + len(members)) if own_weight == "uniform" else own_weight) if members else 1
    return -weight * log_p[0] - sum((1 - weight) / len(members) * log_p[1 + j] for j in members)


@pytest.mark.parametrize("dictionary", ["student", "teacher", "both"])
@pytest.mark.parametrize("teacher_view", ["same", "other"])
@pytest.mark.parametrize("own_weight", [0.5, "uniform"])
def test_loss_equals_a_slow_loop(make, mode, dictionary, teacher_view, own_weight):
    tau, share = 0.3, 0.7
    objective = fill(
        make(mode, dictionary=dictionary, teacher_view=teacher_view, own_weight=own_weight,
             temperature=tau, relation_weight=share)
    )  # fmt: skip
    views = make_batch(seed=9)
    images, features, momentum, labels, *_ = views
    queues = [{name: queue[name].clone() for name in queue.names} for queue in objective.queues]
    prototypes = objective.bank.prototypes.clone()
    projector, momentum_projector = objective.projector, objective.momentum_projector
    queries = [normalize(projector(f), dim=1) for f in features]
    keys = [normalize(momentum_projector(f), dim=1).detach() for f in momentum]
    teacher = objective.teacher
    taught = [(teacher.key if mode == "online" else teacher)(x)[1] for x in images]

    nce = relation = teacher_nce = 0
    for v, w in ((0, 1), (1, 0)):  # the queries of view v meet the keys of view w
        for i in range(len(labels)):
            image = taught[0][i] + taught[1][i]
            ids = int((prototypes @ image).argmax())
            entry_ids = queues[w]["ids"].tolist()
            student = (keys[w][i], queues[w]["student"])
            seen = v if teacher_view == "same" else w
            other = (taught[seen][i], queues[w]["teacher"])
            related = (*(other if dictionary == "teacher" else student), own_weight)
            used = [related, (*other, 1.0)] if dictionary == "both" else [related]
            q = queries[v][i]
            nce = nce + contrast(q, *student, ids, entry_ids, tau, 1.0)
            for own, entries, weight in used:
                part = contrast(q, own, entries, ids, entry_ids, tau, weight)
                relation = relation + part / len(used)
            if mode == "online":
                tq = teacher.query(images[v])[1][i]
                tk = (taught[w][i], queues[w]["teacher"])
                teacher_nce = teacher_nce + contrast(tq, *tk, ids, entry_ids, 0.2, 1.0)
    count = 2 * len(labels)

    loss, logs = objective(views, epoch=0)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(logs["nce_loss"], nce / count, **close)
    torch.testing.assert_close(logs["relation_loss"], relation / count, **close)
    expected = (1 - share) * nce / count + share * relation / count + logs["teacher_class_loss"]
    if mode == "online":
        torch.testing.assert_close(logs["teacher_nce_loss"], teacher_nce / count, **close)
        expected = expected + teacher_nce / count
    torch.testing.assert_close(loss, expected, **close)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, expected)]
    torch.testing.assert_close(*gradients, **close)


def expected_relation(objective, views, groups):
    """The relation loss on the teacher's dictionary by a loop, from given groups."""
    tau, own_weight = objective.config.temperature, objective.config.own_weight
    queries = [normalize(objective.projector(f), dim=1) for f in views.features]
    taught = [objective.teacher(x)[1] for x in views.images]
    total = 0
    for v, w in ((0, 1), (1, 0)):
        entries, entry_ids = objective.queues[w]["teacher"], objective.queues[w]["ids"].tolist()
        for i, group in enumerate(groups):
            total = total + contrast(
                queries[v][i], taught[v][i], entries, group, entry_ids, tau, own_weight
            )
    return total / (2 * len(groups))


def test_only_the_relation_of_the_labels_needs_them(make):
    relations = ("prototypes", "labels", "random")
    needs = [make("frozen", relation=relation).needs_labels for relation in relations]
    assert needs == ["", "relation=labels", ""]


@pytest.mark.parametrize(
    ("mode", "images_per_epoch", "idle"),
    [
        ("online", QUEUE, 3),  # the teacher's warm-up
        ("online", 2, QUEUE // 2),
        ("pretrained", QUEUE, 1),
        ("pretrained", QUEUE + 1, 0),  # full in the middle of the first
    ],
)
def test_a_run_that_ends_before_its_relation_counts_is_told(
    mode, images_per_epoch, idle, make, caplog
):
    objective = make(mode, teacher_warmup_epochs=3)
    for epochs in (idle, idle + 1):
        objective.run = objective.run._replace(max_epochs=epochs)
        caplog.clear()
        training = Training(images_per_epoch, images_per_epoch, 1, epochs)
        objective.before_training(lambda: None, training)
        assert (f"it has {idle} epochs" in caplog.text) == (epochs == idle)


def test_the_relation_of_the_labels(make):
    objective = fill(make("frozen", relation="labels", dictionary="teacher"))
    views = make_batch(seed=9)
    for queue in objective.queues:
        assert torch.equal(queue["ids"], queue["labels"])
    expected = expected_relation(objective, views, views.labels.tolist())
    _, logs = objective(views, epoch=0)
    torch.testing.assert_close(logs["relation_loss"], expected, rtol=0, atol=1e-10)
    assert float(logs["relation_purity"]) == 1


def test_the_relation_of_chance_is_fixed_for_an_image(make):
    objective = fill(make("frozen", relation="random", dictionary="teacher"))
    views = make_batch(seed=9)._replace(indexes=torch.arange(5))
    groups = random_groups(views.indexes, PROTOTYPES)
    expected = expected_relation(objective, views, groups.tolist())
    _, logs = objective(views, epoch=0)
    torch.testing.assert_close(logs["relation_loss"], expected, rtol=0, atol=1e-10)
    for queue in objective.queues:
        assert torch.equal(queue["ids"][(queue.pointer - 5 + torch.arange(5)) % QUEUE], groups)


def test_random_groups_are_even_and_tell_nothing_of_the_order():
    groups = random_groups(torch.arange(50_000), 100)
    counts = torch.bincount(groups, minlength=100)
    assert groups.min() == 0
    assert len(counts) == 100
    assert 450 < counts.min() <= counts.max() < 550
    # images of one class stand beside each other: their groups must not
    assert torch.bincount(groups[:5000], minlength=100).min() > 40
    assert torch.equal(random_groups(torch.tensor([7, 7, 3]), 100)[:2], groups[[7, 7]])


def test_soft_assignments_follow_the_prototypes(make):
    sharp, hard = (
        fill(make("frozen", assignment_temperature=temperature)) for temperature in (1e-5, 0.0)
    )
    soft = fill(make("frozen", assignment_temperature=0.5))
    losses = [objective(make_batch(seed=9), epoch=0)[1]["relation_loss"] for objective in
              (hard, sharp, soft)]  # fmt: skip
    torch.testing.assert_close(losses[0], losses[1])
    assert abs(losses[0] - losses[2]) > 1e-4


def test_soft_assignments_are_the_prototypes_alone(make):
    with pytest.raises(UserError, match=r"assignment_temperature=0\.1 .* relation=labels"):
        make(relation="labels", assignment_temperature=0.1)


def test_a_ripe_teacher_needs_no_warm_up(make):
    assert fill(make("frozen", teacher_warmup_epochs=9)).bank.ready
    assert fill(make("pretrained", teacher_warmup_epochs=9)).bank.ready


def test_plain_info_nce_until_the_first_full_queue(make):
    objective = make()
    for seed, relation in enumerate([False, False, False, True, True]):
        _, logs = objective(make_batch(seed=seed), epoch=0)
        assert ("relation_loss" in logs) == relation
        assert ("nce_loss" in logs) == (not relation)


def test_relations_wait_for_the_teacher_to_ripen(make):
    objective = fill(make(teacher_warmup_epochs=2), epoch=1)
    assert not objective.bank.ready
    _, logs = objective(make_batch(), epoch=2)
    assert "relation_loss" in logs


def test_without_relation_weight_it_is_moco(make):
    objective = fill(make(relation_weight=0.0))
    loss, logs = objective(make_batch(seed=7), epoch=0)
    assert "relation_loss" not in logs
    parts = logs["nce_loss"] + logs["teacher_nce_loss"] + logs["teacher_class_loss"]
    torch.testing.assert_close(loss, parts)


def test_ids_in_the_queues_belong_to_the_teacher_embeddings_of_both_views(make):
    objective = fill(make(prototype_momentum=1.0))
    objective(make_batch(seed=8), epoch=0)
    images = objective.queues[0]["teacher"] + objective.queues[1]["teacher"]
    for queue in objective.queues:
        assert torch.equal(queue["ids"], objective.bank.assign(images))
    torch.testing.assert_close(objective.queues[0]["labels"], objective.queues[1]["labels"])


def test_the_relation_does_not_know_the_order_of_the_views(make):
    found = []
    for swap in (False, True):
        objective = fill(make("frozen", dictionary="teacher"))
        views = make_batch(seed=9)
        if swap:
            views = views._replace(
                images=views.images[::-1],
                features=views.features[::-1],
                momentum_features=views.momentum_features[::-1],
            )
            first, second = ({n: q[n].clone() for n in q.names} for q in objective.queues)
            for queue, other in zip(objective.queues, (second, first), strict=True):
                for name, values in other.items():
                    queue[name].copy_(values)
        found.append(objective(views, epoch=0)[1]["relation_loss"])
    torch.testing.assert_close(*found)


def test_no_entry_of_a_queue_belongs_to_a_reseeded_prototype(make):
    objective = fill(make(num_prototypes=QUEUE, prototype_momentum=0.0))
    reseeded = 0
    for seed in range(40):
        idle = objective.bank.idle.clone()
        objective(make_batch(seed=seed), epoch=0)
        held = torch.cat([queue["ids"] for queue in objective.queues])
        last = torch.cat([queue["ids"][queue_tail(queue)] for queue in objective.queues])
        for c in range(QUEUE):
            if idle[c] > 0 and objective.bank.idle[c] == 0 and c not in last:
                assert c not in held
                reseeded += 1
    assert reseeded > 3


def queue_tail(queue):
    """The places of the last batch of five."""
    return (int(queue.pointer) - 1 - torch.arange(5)) % QUEUE


def test_student_and_teacher_do_not_train_each_other(make):
    objective = fill(make())
    views = make_batch(seed=5)
    features = [f.requires_grad_() for f in views.features]
    _, logs = objective(views, epoch=0)
    reaches = {
        "relation_loss": [*objective.projector.parameters(), *features],
        "teacher_nce_loss": [p for p in objective.teacher.parameters() if p.requires_grad],
        "teacher_class_loss": list(objective.teacher_classifier.parameters()),
    }
    assert_only_these_get_gradients(logs, reaches)


def test_every_trained_parameter_is_in_a_group(make, mode):
    objective = make(mode)
    grouped = [p for group in objective.learnable_params(0.1, 0.3) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in objective.parameters() if p.requires_grad}
    momentum = {id(p) for _, twin in objective.momentum_pairs for p in twin.parameters()}
    assert momentum == {id(p) for p in objective.parameters() if not p.requires_grad}


def test_permuting_the_batch_changes_no_loss(make):
    order = torch.tensor([3, 0, 4, 1, 2])
    losses = []
    for permute in (False, True):
        objective = fill(make())
        views = make_batch(seed=6)
        losses.append(objective(rows_of(views, order) if permute else views, epoch=0)[0])
    torch.testing.assert_close(*losses)


def test_unlabelled_data_has_no_label_metrics(make):
    objective = make()
    for seed in range(5):
        views = make_batch(seed=seed)
        loss, logs = objective(views._replace(labels=torch.full((5,), -1)), epoch=0)
    assert objective.bank.ready
    assert loss.isfinite()
    assert "relation_purity" not in logs
    assert float(logs["teacher_class_loss"].detach()) == 0
    gradients = torch.autograd.grad(loss, list(objective.teacher_classifier.parameters()))
    assert not any(gradient.any() for gradient in gradients)


def test_the_teachers_probe_leaves_out_images_without_labels(make):
    losses = []
    for rows in (slice(None), slice(0, 3)):
        objective = make()
        objective.teacher_classifier[0] = nn.Identity()  # normalises over all images
        views = make_batch()
        views.labels[3:] = -1
        losses.append(objective(rows_of(views, rows), epoch=0)[1]["teacher_class_loss"])
    torch.testing.assert_close(*losses)


def test_a_frozen_teacher_has_no_loss_of_its_own(make):
    _, logs = fill(make("frozen"))(make_batch(), epoch=0)
    assert "teacher_nce_loss" not in logs
    assert "teacher_acc1" in logs


def test_the_teachers_dictionary_needs_its_width(make):
    with pytest.raises(UserError, match=r"proj_output_dim=5 .* 11"):
        make("frozen", teacher_dim=11, dictionary="teacher")
    _, logs = fill(make("frozen", teacher_dim=11, dictionary="student"))(make_batch(), epoch=0)
    assert logs["relation_loss"].isfinite()


def test_a_checkpoint_goes_on_exactly(make):
    first, second = fill(make()), make()
    second.load_state_dict(first.state_dict())
    results = [objective(make_batch(seed=11), epoch=0) for objective in (first, second)]
    torch.testing.assert_close(*[loss for loss, _ in results])
    assert torch.equal(first.bank.prototypes, second.bank.prototypes)


def test_metrics_equal_a_loop():
    queue = KeyQueue(
        ids=torch.tensor([0, 0, 1, -1, 3, 1, 0, 3]), labels=torch.tensor([2, 1, 1, 0, -1, 1, 2, 0])
    )
    ids, labels = torch.tensor([0, 1, 3, 2, -1]), torch.tensor([2, 0, 0, 1, 1])
    found = relation_metrics(ids, labels, queue, num_prototypes=4, num_classes=3)
    positives, same, known = 0, 0, 0
    for a, y in zip(ids.tolist(), labels.tolist(), strict=True):
        for c, label in zip(queue["ids"].tolist(), queue["labels"].tolist(), strict=True):
            if a >= 0 and c == a:
                positives += 1
                known += label >= 0
                same += label == y
    assert float(found["positives_per_query"]) == pytest.approx(positives / 5)
    assert float(found["relation_purity"]) == pytest.approx(same / known)
    assert float(found["active_prototypes"]) == 3
    shares = torch.tensor([3, 2, 2]) / 7
    assert float(found["assignment_entropy"]) == pytest.approx(
        float(-(shares * shares.log()).sum())
    )
