import pytest
import torch
from tiny_objective import build, fill, make_batch
from torch.nn.functional import normalize

from solo_rekd.objectives import SEED
from solo_rekd.utils.errors import UserError

CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.3, "target_temperature": 0.5}])
def test_loss_equals_a_slow_loop(mode, settings, monkeypatch):
    objective = fill(build(SEED, monkeypatch, mode, **settings))
    tau, tau_t = settings.get("temperature", 0.2), settings.get("target_temperature", 0.01)
    teacher, projector = objective.teacher, objective.projector
    if mode == "online":  # so that the momentum twin is another network
        with torch.no_grad():
            teacher.momentum_projector[0].weight.mul_(-1)
    batch = make_batch(seed=9)
    taught = [(teacher.key if mode == "online" else teacher)(x)[1] for x in batch.images]
    queues = [queue["teacher"].clone() for queue in objective.queues]

    expected = 0
    for view in range(2):
        queries = normalize(projector(batch.features[view]), dim=1)
        for q, t in zip(queries, taught[view], strict=True):
            dictionary = torch.stack([t, *queues[view]])
            target = torch.softmax(dictionary @ t / tau_t, 0)
            log_p = torch.log_softmax(dictionary @ q / tau, 0)
            expected = expected - sum(target * log_p) / (2 * len(queries))

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["similarity_loss"], expected, **CLOSE)
    total = expected + logs["teacher_class_loss"]
    if mode == "online":
        total = total + logs["teacher_nce_loss"]
    torch.testing.assert_close(loss, total, **CLOSE)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, total)]
    torch.testing.assert_close(*gradients, **CLOSE)
    for view, queue in enumerate(objective.queues):
        newest = (int(queue.pointer) - len(taught[view]) + torch.arange(len(taught[view]))) % 12
        torch.testing.assert_close(queue["teacher"][newest], taught[view])


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("queue_size", [12, 5, 3])  # of batches of 5
def test_with_the_queue_first_an_own_embedding_is_one_entry_of_it(mode, queue_size, monkeypatch):
    changes = {"queue_first": "on", "queue_size": queue_size, "target_temperature": 0.5}
    objective = fill(build(SEED, monkeypatch, mode, **changes))
    teacher, projector = objective.teacher, objective.projector
    batch = make_batch(seed=9)
    taught = [(teacher.key if mode == "online" else teacher)(x)[1] for x in batch.images]
    earlier = [queue.newest(queue_size)["teacher"].clone() for queue in objective.queues]

    expected = 0
    for view in range(2):
        # all of the batch, and the newest others as far as there is room
        dictionary = torch.cat([taught[view], earlier[view][: max(0, queue_size - 5)]])
        queries = normalize(projector(batch.features[view]), dim=1)
        for q, t in zip(queries, taught[view], strict=True):
            target = torch.softmax(dictionary @ t / 0.5, 0)
            expected = expected - sum(target * torch.log_softmax(dictionary @ q / 0.2, 0)) / 10

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["similarity_loss"], expected, **CLOSE)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, expected)]
    torch.testing.assert_close(*gradients, **CLOSE)
    for view, queue in enumerate(objective.queues):
        kept = min(5, queue_size)
        newest = queue.newest(kept)["teacher"].flip(0)
        torch.testing.assert_close(newest, taught[view][-kept:])


@pytest.mark.parametrize("queue_first", ["off", "on"])
def test_a_student_that_is_the_teacher_learns_nothing(queue_first, monkeypatch):
    alike = {"temperature": 0.1, "target_temperature": 0.1, "queue_first": queue_first}
    objective = fill(build(SEED, monkeypatch, "frozen", **alike))
    batch = make_batch(seed=3)
    objective.projector = torch.nn.Identity()
    queries = [objective.teacher(x)[1].requires_grad_() for x in batch.images]
    _, logs = objective(batch._replace(features=queries), epoch=0)
    for gradient in torch.autograd.grad(logs["similarity_loss"], queries):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)


def test_the_teachers_width_is_needed(monkeypatch):
    with pytest.raises(UserError, match=r"^proj_output_dim=5 .* 11, the teacher's embedding$"):
        build(SEED, monkeypatch, "frozen", teacher_dim=11)
