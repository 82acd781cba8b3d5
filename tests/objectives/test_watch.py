"""What goes wrong in a training is said once, whatever loop it trains in, and nothing else is."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_objective import FEATURES, SIZE, build, make_batch
from tiny_relation import relate
from torch import nn
from waits import NoWaits

from solo_rekd.lengths import Training
from solo_rekd.objectives import OBJECTIVES, Batch, ReKD, watch

EVERY = 6  # steps between two looks
VIEWS = {"num_prototypes": 3, "teacher_warmup_epochs": 0, "relation_view": "views"}
Said = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often."""
    monkeypatch.setattr(watch, "EVERY", EVERY)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """Gives all that was said so far."""
    caplog.set_level(logging.WARNING, "solo_rekd")
    return lambda: [record.getMessage() for record in caplog.records]


def train(
    objective: Any, steps: int, lr: float = 0.05, size: int = 16, draw: Any = make_batch
) -> nn.Module:
    """Trains a linear student and the objective's head, and returns the student."""
    torch.manual_seed(1)
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, FEATURES)).double()
    trained = [*student.parameters()]
    trained += [each for group in objective.learnable_params(lr, lr) for each in group["params"]]
    optimizer = torch.optim.SGD(trained, lr, momentum=0.9)
    for step in range(steps):
        batch = draw(size=size, seed=step)
        batch = batch._replace(features=[student(view) for view in batch.images])
        loss, _ = objective(batch, epoch=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student


def alike(size: int, seed: int) -> Batch:
    """The views of one image, again and again, for a whole batch."""
    batch = make_batch(size=size)
    return batch._replace(images=[view[:1].expand(size, 3, SIZE, SIZE) for view in batch.images])


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("name", sorted({*OBJECTIVES} - {"bingo"}))
def test_of_a_healthy_training_nothing_is_said(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    settings = {"rekd": VIEWS, "coss": {"neighbours": 0}}.get(name, {})
    objective = build(OBJECTIVES[name], monkeypatch, mode, **settings)
    train(objective, 2 * EVERY + 1)
    assert said() == []


def test_a_loss_that_is_lost_is_said_with_its_step(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    losses: list[bool] = []
    objective.register_forward_hook(lambda *call: losses.append(bool(call[2][0].isfinite())))
    train(objective, 3 * EVERY, lr=1e300)
    first = losses.index(False) + 1
    assert 1 < first < EVERY
    (line,) = said()
    assert line == (
        f"step {first}: The loss is not a finite number. Try a learning rate 3 to 10 times lower, "
        "a longer warm-up, or precision 32 instead of 16."
    )


def test_a_loss_that_is_lost_for_one_step_is_said_too(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    for seed in range(2 * EVERY):
        batch = make_batch(seed=seed)
        if seed == 2:
            batch.features[0][1] = torch.inf
        objective(batch, epoch=0)
    (line,) = said()
    assert line.startswith("step 3: The loss is not")


def test_a_student_that_has_collapsed_is_said(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    train(objective, 4 * EVERY, draw=alike)
    (line,) = said()
    assert line.startswith(f"step {EVERY}: The student has collapsed: it gives all photos nearly")
    assert "(deviation 0.000). Try a learning rate" in line


def test_one_dull_batch_is_no_collapse(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    train(objective, EVERY, draw=alike)
    train(objective, EVERY)
    train(objective, EVERY, draw=alike)
    assert said() == []


def test_a_batch_of_one_image_is_no_collapse(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    train(build(OBJECTIVES["seed"], monkeypatch, "frozen"), 3 * EVERY, size=1)
    assert said() == []


def test_a_bank_far_too_large_is_said(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    settings = VIEWS | {"num_prototypes": 400, "queue_size": 400}
    objective = build(ReKD, monkeypatch, "frozen", **settings)
    objective(make_batch(size=400), epoch=0)  # which fills the queue
    train(objective, 3 * EVERY)
    (line,) = said()
    assert "Hardly any positives: a query has" in line and "fewer num_prototypes" in line


def test_a_queue_of_one_kind_is_said(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    settings = VIEWS | {"num_prototypes": 4, "queue_size": 24}
    objective = build(ReKD, monkeypatch, "frozen", **settings)
    train(objective, 3 * EVERY, draw=alike)
    collapsed, dead = said()
    assert "The student has collapsed" in collapsed
    assert "Dead prototypes: 1 of 4 have entries in the queue" in dead


@pytest.mark.parametrize(("number", "lines"), [(4, 0), (10_000, 1)])
def test_images_without_relatives_are_said(
    number: int, lines: int, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    settings = {"relation": "random", "relation_view": "image", "num_prototypes": number}
    relate(build(ReKD, monkeypatch, "frozen", **settings))
    assert len(said()) == lines
    assert all("before step 1: Hardly any positives: 0% of the training" in each for each in said())


def test_the_last_step_of_a_short_epoch_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    objective.before_training(lambda: None, Training(images=48, batch=16, steps=3, epochs=99))
    train(objective, 3, lr=1e300)
    assert len(said()) == 1


def test_it_waits_for_the_device_in_one_step_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen")
    for seed in range(EVERY - 1):
        with NoWaits():
            objective(make_batch(seed=seed), epoch=0)
    with pytest.raises(AssertionError, match="tolist"), NoWaits():
        objective(make_batch(), epoch=0)
