from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_objective import (
    SIZE,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from solo_rekd.config import CossConfig
from solo_rekd.lengths import Training
from solo_rekd.objectives import CoSS
from solo_rekd.utils.errors import UserError

CLOSE = {"rtol": 0, "atol": 1e-10}
IMAGES = 20
PLAIN = {"neighbours": 0}


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


@pytest.mark.parametrize("mode", ["frozen", "online"])
@pytest.mark.parametrize("settings", [{}, {"space_weight": 0.5, "loss_weight": 3.0}])
def test_loss_equals_a_slow_loop(mode, settings, monkeypatch):
    objective = fill(build(CoSS, monkeypatch, mode, **PLAIN, **settings))
    teacher, projector = objective.teacher, objective.projector
    if mode == "online":  # so that the momentum twin is another network
        with torch.no_grad():
            teacher.momentum_backbone[1].weight.mul_(-1)
    batch = make_batch(seed=9)
    taught = [(teacher.key if mode == "online" else teacher)(x)[0] for x in batch.images]
    rows = columns = 0
    for view in range(2):
        predicted = projector(batch.features[view])
        for h, t in zip(predicted, taught[view], strict=True):
            rows = rows - cosine(h, t) / 10
        for h, t in zip(predicted.T, taught[view].T, strict=True):
            columns = columns - cosine(h, t) / (2 * predicted.shape[1])

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["cosine_loss"], rows, **CLOSE)
    torch.testing.assert_close(logs["space_loss"], columns, **CLOSE)
    weight, scale = settings.get("space_weight", 1.0), settings.get("loss_weight", 1.0)
    total = scale * (rows + weight * columns) + logs["teacher_class_loss"]
    if mode == "online":
        total = total + logs["teacher_nce_loss"]
    torch.testing.assert_close(loss, total, **CLOSE)
    parameters = list(projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, total)]
    torch.testing.assert_close(*gradients, **CLOSE)


def test_a_student_that_is_the_teacher_has_the_least_loss(monkeypatch):
    objective, batch = build(CoSS, monkeypatch, "frozen"), make_batch(seed=3)
    objective.projector = nn.Identity()
    features = [(3 * objective.teacher(x)[0]).clone().requires_grad_() for x in batch.images]
    _, logs = objective(batch._replace(features=features), epoch=0)
    for name in ("cosine_loss", "space_loss"):
        assert float(logs[name].detach()) == pytest.approx(-1)
        for gradient in torch.autograd.grad(logs[name], features, retain_graph=True):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)


def test_permuting_the_batch_changes_nothing(monkeypatch):
    losses = []
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        objective = build(CoSS, monkeypatch, "frozen")
        losses.append(objective(rows_of(make_batch(), order), epoch=0)[0])
    torch.testing.assert_close(*losses, **CLOSE)


def test_nothing_but_the_student_and_the_probe_is_trained(monkeypatch):
    objective, batch = build(CoSS, monkeypatch, "frozen"), make_batch()
    student = [*objective.projector.parameters(), *(f.requires_grad_() for f in batch.features)]
    _, logs = objective(batch, epoch=0)
    # which no direction depends on, and a bias has one of every row
    probe = list(objective.teacher_classifier.parameters())
    reaches = {"cosine_loss": student, "space_loss": student, "teacher_class_loss": probe}
    assert_only_these_get_gradients(logs, reaches)


class Images(TensorDataset):
    """Random images with their places."""

    transform = None

    def __init__(self, number: int) -> None:
        g = torch.Generator().manual_seed(4)
        super().__init__(torch.rand(number, 3, SIZE, SIZE, generator=g))
        self.data = self.tensors[0].numpy()

    def __getitem__(self, index: int) -> Any:
        return index, *super().__getitem__(index), -1


def test_neighbours_are_found_on_the_whole_images_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = []

    def images() -> DataLoader:
        wanted.append(1)
        return DataLoader(Images(IMAGES), batch_size=6)

    settings = {"neighbours": 2, "neighbour_pool": 4, "teacher_cache": str(tmp_path)}
    objective = build(CoSS, monkeypatch, "frozen", teacher_dim=11, **settings).float()
    assert objective.neighbours is None
    objective.before_training(images, Training(IMAGES, 5, 4, 1))
    members, number = objective.neighbours
    features = torch.nn.functional.normalize(objective.teacher(Images(IMAGES).tensors[0])[0], dim=1)
    similarities = (features @ features.T).fill_diagonal_(-2)
    assert torch.equal(members, similarities.topk(4).indices)
    assert (number, members.device.type) == (2, "cpu")
    assert len(list(tmp_path.iterdir())) == 1
    assert not [name for name in objective.state_dict() if "neighbours" in name]

    without = build(CoSS, monkeypatch, "frozen", **settings | PLAIN)
    without.before_training(images, Training(IMAGES, 5, 4, 1))
    assert without.neighbours is None and len(wanted) == 1
    with pytest.raises(UserError, match=r"^neighbour_pool=20 .* at most 19"):
        build(CoSS, monkeypatch, "frozen", **settings | {"neighbour_pool": 20}).before_training(
            images, Training(IMAGES, 5, 4, 1)
        )


def test_settings_that_do_not_go_together() -> None:
    frozen = {"teacher_checkpoint": "a.pt"}
    assert (CossConfig(**frozen).neighbours, CossConfig(**frozen).neighbour_pool) == (15, 31)
    with pytest.raises(UserError, match=r"^teacher_mode='online' .* online with neighbours=0"):
        CossConfig(teacher_mode="online")
    with pytest.raises(UserError, match=r"^neighbours=32 .* at most neighbour_pool=31$"):
        CossConfig(neighbours=32, **frozen)
    with pytest.raises(UserError, match=r"^teacher_mode='frozen' needs teacher_checkpoint=PATH"):
        CossConfig()
    assert CossConfig(neighbours=0, teacher_mode="online").teacher_mode == "online"
