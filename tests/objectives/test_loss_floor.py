"""The floor that an objective logs beside its loss."""

import pytest
import torch
from tiny_objective import DIM, build, fill, make_batch
from torch import nn

from solo_rekd.objectives import BINGO, CRCD, SEED, CompRess, CoSS, DisCo, ReKD, SimReg
from solo_rekd.objectives.bags import Bags
from solo_rekd.objectives.distillation import FLOOR, student_loss

VIEWS = {"num_prototypes": 3, "teacher_warmup_epochs": 0, "relation_view": "views"}
ON_TEACHER = VIEWS | {"dictionary": "teacher", "relation_weight": 1}
WITH = {
    "seed": (SEED, {}),
    "seed, queue first": (SEED, {"queue_first": "on"}),
    "compress 1q": (CompRess, {"variant": "1q"}),
    "compress 2q": (CompRess, {"variant": "2q"}),
    "simreg": (SimReg, {}),
    "coss": (CoSS, {"neighbours": 0}),
    "rekd": (ReKD, ON_TEACHER),
    "rekd soft": (ReKD, ON_TEACHER | {"assignment_temperature": 0.1}),
}
WITHOUT = {
    "disco": (DisCo, {}),
    "crcd": (CRCD, {}),
    "rekd both": (ReKD, VIEWS | {"dictionary": "both"}),
    "rekd student": (ReKD, VIEWS | {"dictionary": "student"}),
    "rekd, its contrast counts": (ReKD, ON_TEACHER | {"relation_weight": 0.5}),
}


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("name", WITH)
def test_no_loss_is_below_its_floor(name, mode, monkeypatch):
    objective_class, settings = WITH[name]
    objective = build(objective_class, monkeypatch, mode, **settings)
    for seed in range(6):
        loss, logs = objective(make_batch(seed=seed), epoch=0)
        assert logs[FLOOR] <= student_loss(loss, logs)
        assert not logs[FLOOR].requires_grad
    if mode == "online":
        assert student_loss(loss, logs) < loss


def test_bingo_has_a_floor(monkeypatch):
    objective = build(BINGO, monkeypatch, "frozen")
    members = torch.arange(20)[:, None].add(torch.arange(1, 4)).remainder(20)
    objective.bags = Bags(members, torch.eye(DIM).repeat(4, 1).double())
    loss, logs = fill(objective)(make_batch(), epoch=0)
    assert 0 < logs[FLOOR] <= student_loss(loss, logs)


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("name", WITHOUT)
def test_there_is_none_where_the_student_makes_its_own_keys(name, mode, monkeypatch):
    objective_class, settings = WITHOUT[name]
    _, logs = fill(build(objective_class, monkeypatch, mode, **settings))(make_batch(), epoch=0)
    assert FLOOR not in logs


class Says(nn.Module):
    """A head that gives what it was given, view by view."""

    def __init__(self, views):
        super().__init__()
        self.views = iter(views)

    def forward(self, features):
        return next(self.views)


@pytest.mark.parametrize("name", ["seed", "seed, queue first", "compress 1q", "simreg", "coss"])
def test_the_student_that_says_what_its_teacher_does_is_at_the_floor(name, monkeypatch):
    objective_class, settings = WITH[name]
    same = {"temperature": 0.1, "target_temperature": 0.1} if name[:4] in ("seed", "comp") else {}
    objective = fill(build(objective_class, monkeypatch, "frozen", **settings | same))
    batch = make_batch(seed=7)
    taught, _, _ = objective.teach(batch)
    said = taught.embeddings if name.startswith("seed") else taught.features
    objective.projector = Says(said)
    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(student_loss(loss, logs), logs[FLOOR], rtol=0, atol=1e-9)
