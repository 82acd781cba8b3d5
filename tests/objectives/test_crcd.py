import pytest
import tiny_objective
import torch
from tiny_objective import (
    CLASSES,
    QUEUE,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)
from torch.nn.functional import cross_entropy, normalize

from solo_rekd.config import CrcdConfig
from solo_rekd.objectives import CRCD
from solo_rekd.utils.errors import UserError

CLOSE = {"rtol": 0, "atol": 1e-10}
DISTILLED = ("relation_loss", "gradient_loss")


@pytest.fixture(params=["online", "frozen"])
def mode(request):
    return request.param


@pytest.fixture(params=["contrastive", "labels"])
def task(request):
    return request.param


@pytest.fixture
def make(monkeypatch):
    """Builds a float64 CRCD with a tiny teacher, whose momentum twin is another network."""

    def run(mode="online", **settings):
        objective = build(CRCD, monkeypatch, mode, **settings)
        if mode == "online":
            with torch.no_grad():
                objective.teacher.momentum_projector[0].weight.mul_(-1)
        return objective

    return run


def nce(query, own, entries, tau):
    """The cross-entropy of one query."""
    return -torch.log_softmax(torch.stack([own, *entries]) @ query / tau, 0)[0]


def relation_contrast(student, teacher, student_queue, teacher_queue, tau):
    """Both ways, a softmax a pair, from explicit differences."""
    total = 0
    for a, anchor in enumerate(teacher):
        for i in set(range(len(student))) - {a}:
            r_s, r_t = normalize(student[i] - anchor, dim=0), normalize(teacher[i] - anchor, dim=0)
            for query, own, queue in ((r_s, r_t, teacher_queue), (r_t, r_s, student_queue)):
                total = total + nce(query, own, normalize(queue - anchor, dim=1), tau)
    return total / (len(student) * (len(student) - 1))


def cosine_distance(g, h):
    return 1 - g @ h / (g.norm() * h.norm())


def test_loss_equals_a_slow_loop(make, mode, task):
    tau, teacher_tau, relation_tau, negatives = 0.3, 0.15, 0.1, 7
    weights = {"relation_weight": 0.7, "gradient_weight": 3.0}
    objective = fill(
        make(mode, temperature=tau, teacher_temperature=teacher_tau, gradient_task=task,
             relation_temperature=relation_tau, relation_negatives=negatives, **weights)
    )  # fmt: skip
    teacher, projector = objective.teacher, objective.projector
    batch = make_batch(seed=9)
    images, features, momentum, labels, *_ = batch
    queries = [normalize(projector(f), dim=1) for f in features]
    keys = [normalize(objective.momentum_projector(f), dim=1).detach() for f in momentum]
    taught = [(teacher.key if mode == "online" else teacher)(x)[1] for x in images]
    queues = [
        {name: queue[name].roll(-int(queue.pointer), 0) for name in queue.names}  # oldest first
        for queue in objective.queues
    ]

    own = relation = gradient = teacher_own = class_loss = 0
    for v, w in ((0, 1), (1, 0)):  # the view, and the other one
        s_queue, t_queue = queues[w]["student"], queues[w]["teacher"]
        relation = relation + relation_contrast(
            queries[v], taught[v], s_queue[-negatives:], t_queue[-negatives:], relation_tau
        )
        for i, y in enumerate(labels):
            q, t = queries[v][i], taught[v][i].clone().requires_grad_()
            task_s = nce(q, keys[w][i], s_queue, tau)
            task_t = nce(t, taught[w][i], t_queue, teacher_tau)
            own = own + task_s
            if mode == "online":
                teacher_query = teacher.query(images[v])[1][i]
                teacher_own = teacher_own + nce(teacher_query, taught[w][i], t_queue, teacher_tau)
            if task == "labels":
                of_student, of_teacher = objective.task_classifiers.values()
                weight, bias = (p.detach() for p in of_student.parameters())
                task_s = cross_entropy(weight @ q + bias, y)
                task_t = cross_entropy(of_teacher(t), y)
                class_loss = class_loss + cross_entropy(of_student(q.detach()), y)
                class_loss = class_loss + cross_entropy(of_teacher(t.detach()), y)
            (g,) = torch.autograd.grad(task_s, q, create_graph=True)
            (h,) = torch.autograd.grad(task_t, t)
            gradient = gradient + cosine_distance(g, h)
    count = 2 * len(labels)

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["nce_loss"], own / count, **CLOSE)
    torch.testing.assert_close(logs["relation_loss"], relation / 2, **CLOSE)
    torch.testing.assert_close(logs["gradient_loss"], gradient / count, **CLOSE)
    expected = own / count + 0.7 * relation / 2 + 3 * gradient / count
    expected = expected + logs["teacher_class_loss"] + teacher_own / count + class_loss / count
    torch.testing.assert_close(loss, expected, **CLOSE)
    parameters = [*projector.parameters()]
    if task == "labels":
        parameters += objective.task_classifiers.parameters()
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, expected)]
    torch.testing.assert_close(*gradients, **CLOSE)
    for view, queue in enumerate(objective.queues):
        newest = (int(queue.pointer) - len(labels) + torch.arange(len(labels))) % QUEUE
        torch.testing.assert_close(queue["student"][newest], keys[view])
        torch.testing.assert_close(queue["teacher"][newest], taught[view])


def test_the_last_twenty_fifth_is_without_the_teacher(make, task, monkeypatch):
    monkeypatch.setattr(tiny_objective, "EPOCHS", 50)
    objective = fill(make("frozen", gradient_task=task))
    for epoch, distilled in ((0, True), (47, True), (48, False), (49, False)):
        loss, logs = objective(make_batch(seed=epoch), epoch=epoch)
        assert [name in logs for name in DISTILLED] == [distilled] * 2
    rest = logs["nce_loss"] + logs["teacher_class_loss"] + logs.get("task_class_loss", 0)
    torch.testing.assert_close(loss, rest)


@pytest.mark.parametrize(("epochs", "distilled"), [(250, 240), (200, 192), (10, 10)])
def test_the_papers_schedule(make, epochs, distilled, monkeypatch):
    monkeypatch.setattr(tiny_objective, "EPOCHS", epochs)
    assert make().distilled_epochs == distilled


def test_a_share_of_zero_distils_to_the_end(make):
    _, logs = make(finetune_share=0.0)(make_batch(), epoch=9)
    assert "relation_loss" in logs


def test_without_its_weights_it_is_moco(make):
    batch = make_batch(seed=7)
    objective = fill(make("frozen", relation_weight=0.0, gradient_weight=0.0))
    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(loss, logs["nce_loss"] + logs["teacher_class_loss"])


def test_student_and_teacher_do_not_train_each_other(make, task):
    objective = fill(make(gradient_task=task))
    batch = make_batch(seed=5)
    student = [*objective.projector.parameters(), *(f.requires_grad_() for f in batch.features)]
    _, logs = objective(batch, epoch=0)
    reaches = dict.fromkeys(("nce_loss", *DISTILLED), student)
    reaches["teacher_nce_loss"] = [p for p in objective.teacher.parameters() if p.requires_grad]
    reaches["teacher_class_loss"] = list(objective.teacher_classifier.parameters())
    if task == "labels":
        reaches["task_class_loss"] = list(objective.task_classifiers.parameters())
    assert_only_these_get_gradients(logs, reaches)


@pytest.mark.parametrize("epoch", [0, 9])
def test_every_trained_parameter_gets_a_gradient_and_is_in_a_group(make, mode, task, epoch):
    objective = make(mode, gradient_task=task, finetune_share=0.1)
    loss, logs = objective(make_batch(), epoch=epoch)
    assert ("relation_loss" in logs) == (epoch < 9)
    loss.backward()
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    grouped = [p for group in objective.learnable_params(0.1, 0.3) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in trained.values()}
    momentum = {id(p) for _, twin in objective.momentum_pairs for p in twin.parameters()}
    assert momentum == {id(p) for p in objective.parameters() if not p.requires_grad}


def test_permuting_the_batch_changes_no_loss(make, mode, task):
    order = torch.tensor([3, 0, 4, 1, 2])
    losses = []
    for permute in (False, True):
        objective = fill(make(mode, gradient_task=task))
        batch = make_batch(seed=6)
        losses.append(objective(rows_of(batch, order) if permute else batch, epoch=0)[0])
    torch.testing.assert_close(*losses)


def test_labels_never_reach_the_student_by_default(make, mode):
    logs = []
    for labels in ([0, 1, 2, 0, 1], [2, 2, 0, 1, 0], [-1] * 5):
        objective = fill(make(mode))
        _, found = objective(make_batch(seed=6)._replace(labels=torch.tensor(labels)), epoch=0)
        logs.append([found[name] for name in ("nce_loss", *DISTILLED)])
    torch.testing.assert_close(logs[0], logs[1], rtol=0, atol=0)
    torch.testing.assert_close(logs[0], logs[2], rtol=0, atol=0)


def test_a_task_of_labels_needs_labels(make):
    objective = make(gradient_task="labels")
    batch = make_batch()
    batch.labels[1:] = -1  # images without a label are left out
    _, logs = objective(batch, epoch=0)
    one = rows_of(batch, slice(0, 1))
    _, logs_of_one = make(gradient_task="labels")(one, epoch=0)
    for name in ("gradient_loss", "task_class_loss"):
        torch.testing.assert_close(logs[name], logs_of_one[name])
    assert objective.needs_labels == "gradient_task=labels"
    assert make().needs_labels == ""


def test_the_task_of_labels_learns_them(make):
    objective = make("frozen", gradient_task="labels")
    batch = make_batch(size=6)
    optimizer = torch.optim.Adam(objective.task_classifiers.parameters(), lr=0.3)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        _, logs = objective(batch, epoch=0)
        logs["task_class_loss"].backward()
        optimizer.step()
        losses.append(logs["task_class_loss"].item())
    assert losses[-1] < losses[0] / 2
    assert objective.task_classifiers["student"].out_features == CLASSES


def test_a_student_like_its_teacher_has_the_same_gradients(make):
    objective = fill(make("frozen"))
    batch = make_batch(seed=3)
    taught = [objective.teacher(x)[1] for x in batch.images]
    for queue in objective.queues:
        queue["student"].copy_(queue["teacher"])
    embeddings = [t.clone().requires_grad_() for t in taught]
    objective.query, objective.key = lambda _: embeddings, lambda _: taught
    _, logs = objective(batch, epoch=0)
    gradients = torch.autograd.grad(logs["gradient_loss"], embeddings)
    torch.testing.assert_close(logs["gradient_loss"].item(), 0.0, **CLOSE)
    torch.testing.assert_close(gradients, tuple(map(torch.zeros_like, embeddings)), **CLOSE)


def test_the_teachers_width_is_needed(make):
    with pytest.raises(UserError, match=r"^proj_output_dim=5 .* 11, the teacher's embedding$"):
        make("frozen", teacher_dim=11)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relation_weight", -1.0),
        ("relation_temperature", 0.0),
        ("relation_negatives", 0),
        ("gradient_weight", -1.0),
        ("gradient_task", "both"),
        ("finetune_share", 1.1),
    ],
)
def test_a_wrong_setting_is_refused(name, value):
    with pytest.raises(UserError, match=f"^{name}={value!r} is not allowed"):
        CrcdConfig(**{name: value})


def test_a_checkpoint_goes_on_exactly(make, mode, task):
    first, second = fill(make(mode, gradient_task=task)), make(mode, gradient_task=task)
    for value in second.state_dict().values():
        value.add_(1)
    second.load_state_dict(first.state_dict())
    for seed in (11, 12):
        results = [objective(make_batch(seed=seed), epoch=0) for objective in (first, second)]
        torch.testing.assert_close(*results, rtol=0, atol=0)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_a_batch_without_labels_leaves_the_labels_task_out(make):
    objective = fill(make(gradient_task="labels"))
    batch = make_batch(seed=9)
    batch.labels.fill_(-1)
    loss, logs = objective(batch, epoch=0)
    assert logs["task_class_loss"] == 0 and logs["gradient_loss"] == 0
    loss.backward()
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert all(p.grad.isfinite().all() for p in trained)
