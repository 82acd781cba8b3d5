import pytest
import torch
from tiny_objective import (
    FEATURES,
    TEACHER_FEATURES,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)
from torch import nn

from solo_rekd.checkpoints.projector import build_projector
from solo_rekd.lengths import Training
from solo_rekd.objectives import SimReg

CLOSE = {"rtol": 0, "atol": 1e-10}
MODES = ["frozen", "online"]


@pytest.mark.parametrize("mode", MODES)
def test_loss_equals_a_slow_loop(mode, monkeypatch):
    objective = fill(build(SimReg, monkeypatch, mode))
    teacher, projector = objective.teacher, objective.projector
    if mode == "online":  # so that the momentum twin is another network
        with torch.no_grad():
            teacher.momentum_backbone[1].weight.mul_(-1)
    batch = make_batch(seed=9)
    taught = [(teacher.key if mode == "online" else teacher)(x)[0] for x in batch.images]
    expected = 0
    for view in range(2):
        for h, t in zip(projector(batch.features[view]), taught[view], strict=True):
            expected = expected + (h / h.norm() - t / t.norm()).square().sum() / 10

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["regression_loss"], expected, **CLOSE)
    total = expected + logs["teacher_class_loss"]
    if mode == "online":
        total = total + logs["teacher_nce_loss"]
    torch.testing.assert_close(loss, total, **CLOSE)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, total)]
    torch.testing.assert_close(*gradients, **CLOSE)


def test_the_head_is_the_papers_and_a_checkpoint_tells_it(monkeypatch):
    objective = build(SimReg, monkeypatch, "frozen")
    kinds = [type(layer) for layer in objective.projector]
    pair = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert kinds == [*pair, *pair]  # no activation between the pairs
    linear = [layer for layer in objective.projector if isinstance(layer, nn.Linear)]
    widths = [FEATURES, 2 * FEATURES, FEATURES, 2 * FEATURES, TEACHER_FEATURES]
    assert [layer.in_features for layer in linear] == widths[:-1]
    assert [layer.out_features for layer in linear] == widths[1:]
    rebuilt = build_projector(objective.projector.float().state_dict())
    features = torch.randn(3, FEATURES)
    assert torch.equal(rebuilt.eval()(features), objective.projector.eval()(features))


def test_a_student_that_is_the_teacher_learns_nothing(monkeypatch):
    objective, batch = build(SimReg, monkeypatch, "frozen"), make_batch(seed=3)
    objective.projector = nn.Identity()
    features = [(3 * objective.teacher(x)[0]).clone().requires_grad_() for x in batch.images]
    _, logs = objective(batch._replace(features=features), epoch=0)
    assert float(logs["regression_loss"].detach()) == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(logs["regression_loss"], features):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_any_width_of_the_teacher_will_do_and_only_an_online_one_has_a_queue(
    mode, monkeypatch, caplog
):
    # the projector that this teacher's embeddings have is not the student's
    objective = build(SimReg, monkeypatch, mode, teacher_dim=11, proj_output_dim=3)
    objective(make_batch(), epoch=0)
    assert [list(queue.names) for queue in objective.queues] == [["teacher"]] * 2 * (
        mode == "online"
    )
    objective.before_training(lambda **views: None, Training(5, 5, 1, 1))
    assert ("queue_size" in caplog.text) == (mode == "online")


def test_permuting_the_batch_changes_nothing(monkeypatch):
    losses = []
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        objective = build(SimReg, monkeypatch, "frozen")
        losses.append(objective(rows_of(make_batch(), order), epoch=0)[0])
    torch.testing.assert_close(*losses, **CLOSE)


def test_nothing_but_the_student_and_the_probe_is_trained(monkeypatch):
    objective, batch = build(SimReg, monkeypatch, "frozen"), make_batch()
    student = [*objective.projector.parameters(), *(f.requires_grad_() for f in batch.features)]
    _, logs = objective(batch, epoch=0)
    probe = list(objective.teacher_classifier.parameters())
    reaches = {"regression_loss": student, "teacher_class_loss": probe}
    assert_only_these_get_gradients(logs, reaches)


@pytest.mark.parametrize("mode", MODES)
def test_every_trained_parameter_gets_a_gradient_and_is_in_a_group(mode, monkeypatch):
    objective = build(SimReg, monkeypatch, mode)
    objective(make_batch(), epoch=0)[0].backward()
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    grouped = [p for group in objective.learnable_params(0.1, 0.3) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in trained.values()}
