"""The judgement of two real trainings, at a fair rate and at an absurd one, by a real teacher.

An image is a few hidden factors under much more noise. The teacher sees the factors; the pixels,
and so an untrained student, show hardly anything of them.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from solo_rekd.evaluation.agreement import (
    chance,
    effective_rank,
    feature_deviation,
    nearest,
    shared_neighbours,
)
from solo_rekd.evaluation.health import COLLAPSED, DIVERGED, NOTHING, judge
from solo_rekd.losses import regression_loss, similarity_distillation

FACTORS, PIXELS, WIDTH, HELD_OUT, K = 6, 48, 64, 300, 10


class Images:
    """Draws images, and says what the teacher sees in them: the factors, as unit vectors."""

    def __init__(self) -> None:
        self.draws = torch.Generator().manual_seed(0)
        self.patterns = torch.randn(FACTORS, PIXELS, generator=self.draws)

    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        factors = torch.randn(number, FACTORS, generator=self.draws)
        noise = 6 * torch.randn(number, PIXELS, generator=self.draws)
        noise[:, PIXELS // 2 :] = 0  # where the noise is, only training can tell
        return factors @ self.patterns + noise, normalize(factors, dim=1)


def train(rate: float, loss: str, epochs: int = 5) -> list[dict[str, Any]]:
    """Trains a small network, and keeps the lines that a host's history would have."""
    torch.manual_seed(0)
    images = Images()
    student = nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, WIDTH), nn.ReLU())
    head = nn.Linear(WIDTH, FACTORS)
    optimizer = torch.optim.SGD([*student.parameters(), *head.parameters()], rate, momentum=0.9)
    photos, theirs = images.draw(HELD_OUT)
    queue = images.draw(256)[1]
    lines = []
    for epoch in range(-1, epochs):
        values, floors = [], []
        for _ in range(60 if epoch >= 0 else 0):
            batch, taught = images.draw(64)
            query = head(student(batch))
            if loss == "simreg":
                value, floor = regression_loss(query, taught), torch.zeros(())
            else:
                unit = normalize(query, dim=1)
                value, floor = similarity_distillation(unit, queue, taught, queue, 0.1, 0.1)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(float(value.detach()))
            floors.append(float(floor))
        with torch.no_grad():
            features = student(photos)
        line = {
            "epoch": epoch,
            "effective_rank": effective_rank(features),
            "feature_deviation": feature_deviation(features),
            "agreement_chance": chance(HELD_OUT, K),
            "agreement_ceiling": 0.9,
        }
        shares = torch.full((HELD_OUT,), torch.nan)
        if features.isfinite().all():
            shares = shared_neighbours(nearest(features, K), nearest(theirs, K))
        line |= {"agreement": float(shares.mean()), "agreement_error": float(shares.std()) / 17.3}
        if values:
            line |= {"loss": sum(values) / 60, "loss_floor": sum(floors) / 60}
        lines.append(line)
    return lines


@pytest.mark.parametrize("loss", ["simreg", "seed"])
def test_a_fair_training_is_healthy_and_one_at_an_absurd_rate_is_not(loss: str) -> None:
    healthy = train(0.02, loss)
    assert healthy[-1]["agreement"] > healthy[0]["agreement"] + 0.1
    assert healthy[-1]["loss_floor"] <= healthy[-1]["loss"] < healthy[1]["loss"]
    assert judge(healthy) == []
    found = {finding.kind for finding in judge(train(1e4, loss))}
    assert found & {COLLAPSED, DIVERGED, NOTHING}


def test_a_training_at_no_rate_has_learnt_nothing() -> None:
    assert [finding.kind for finding in judge(train(0.0, "simreg", 2))] == [NOTHING]
