"""A loop of one's own is told what goes wrong in it, as a host is."""

import logging

import pytest
import torch
from own_loop import SIDE, WIDTH, network

from solo_rekd.api import make_objective
from solo_rekd.objectives.watch import EVERY


@pytest.mark.parametrize(("lr", "lines"), [(0.1, 0), (1e6, 1)])
def test_a_rate_far_too_high_is_said_once(
    lr: float, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    teacher, student = network(5), network(WIDTH)
    objective = make_objective(
        "seed", teacher=teacher, features_dim=WIDTH, img_size=SIDE, max_epochs=1, queue_size=24
    )
    groups = [{"params": student.parameters()}, *objective.param_groups(lr)]
    optimizer = torch.optim.SGD(groups, lr, momentum=0.9)
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        for _ in range(2 * EVERY):
            views = [*torch.randn(2, 8, 3, SIDE, SIDE)]
            loss, _ = objective(images=views, features=[student(view) for view in views])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    said = [record.getMessage() for record in caplog.records]
    # float32 cannot normalise so long a query: it is zero, and the loss finite
    assert len(said) == lines
    assert all(
        "The student has collapsed: it gives all photos nearly the same emb" in x for x in said
    )
