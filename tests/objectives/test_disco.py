import pytest
import torch
from tiny_objective import build, fill, make_batch
from torch.nn.functional import normalize

from solo_rekd.config import DiscoConfig
from solo_rekd.objectives import DisCo
from solo_rekd.utils.errors import UserError

CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_loss_equals_a_slow_loop(mode, monkeypatch):
    tau, weight = 0.3, 5.0
    objective = fill(build(DisCo, monkeypatch, mode, temperature=tau, consistency_weight=weight))
    teacher, projector = objective.teacher, objective.projector
    if mode == "online":  # so that the momentum twin is another network
        with torch.no_grad():
            teacher.momentum_projector[0].weight.mul_(-1)
    batch = make_batch(seed=9)
    queries = [normalize(projector(f), dim=1) for f in batch.features]
    keys = [
        normalize(objective.momentum_projector(f), dim=1).detach() for f in batch.momentum_features
    ]
    taught = [(teacher.key if mode == "online" else teacher)(x)[1] for x in batch.images]
    queues = [queue["student"].clone() for queue in objective.queues]

    nce = distance = 0
    for v, w in ((0, 1), (1, 0)):  # the queries of view v meet the keys of view w
        for i, q in enumerate(queries[v]):
            dictionary = torch.stack([keys[w][i], *queues[w]])
            nce = nce - torch.log_softmax(dictionary @ q / tau, 0)[0] / (2 * len(queries[v]))
            # and their own view's embedding of the teacher
            distance = distance + sum((q - taught[v][i]) ** 2) / len(queries[v])

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["nce_loss"], nce, **CLOSE)
    torch.testing.assert_close(logs["consistency_loss"], distance, **CLOSE)
    expected = nce + weight * distance + logs["teacher_class_loss"]
    if mode == "online":
        expected = expected + logs["teacher_nce_loss"]
    torch.testing.assert_close(loss, expected, **CLOSE)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, expected)]
    torch.testing.assert_close(*gradients, **CLOSE)
    for view, queue in enumerate(objective.queues):
        newest = (int(queue.pointer) - len(keys[view]) + torch.arange(len(keys[view]))) % 12
        torch.testing.assert_close(queue["student"][newest], keys[view])


def test_the_default_weight_is_the_papers_sum_over_the_images_of_a_gpu(monkeypatch):
    images = 32
    objective = build(DisCo, monkeypatch, "frozen")
    batch = make_batch(images)
    queries = [normalize(objective.projector(f), dim=1) for f in batch.features]
    summed = sum(
        torch.nn.functional.mse_loss(q, objective.teacher(x)[1], reduction="sum")
        for q, x in zip(queries, batch.images, strict=True)
    )
    loss, logs = objective(batch, epoch=0)
    rest = logs["nce_loss"] + logs["teacher_class_loss"]
    torch.testing.assert_close(loss - rest, summed, **CLOSE)
    assert DiscoConfig().consistency_weight == images


def test_the_teachers_width_is_needed(monkeypatch):
    with pytest.raises(UserError, match=r"^proj_output_dim=5 .* 11, the teacher's embedding$"):
        build(DisCo, monkeypatch, "frozen", teacher_dim=11)
