"""A loop of one's own in one of several processes, importable in processes of their own."""

import datetime
from pathlib import Path
from typing import Any

import torch
from reliability.agreement import Model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from solo_rekd.api import make_objective

SIDE, WIDTH, STEPS, BATCH = 8, 6, 3, 8


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, width))


def train(method: str, rank: int = 0, processes: int = 1) -> dict[str, Tensor]:
    """Trains on a process's share of each batch, and returns its weights and queues."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"queue_size": 24, "proj_hidden_dim": 7}
    objective = make_objective(
        method, teacher=network(5), features_dim=WIDTH, img_size=SIDE, max_epochs=100, **settings
    )
    student = network(WIDTH)
    twin = objective.momentum_twin(student)
    model = Model(student, objective)
    wrapped: nn.Module = model
    if processes > 1:
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    groups = [{"params": student.parameters()}, *objective.param_groups(0.1)]
    optimizer = torch.optim.SGD(groups, 0.1)
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        share = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
        drawn = torch.randn(2, BATCH, 3, SIDE, SIDE, generator=generator)[:, share]
        views, more = [*drawn], {}
        if twin is not None:
            with torch.no_grad():
                more["momentum_features"] = [twin(view) for view in views]
        loss, _ = wrapped(views, **more)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.update_momentum(step / STEPS)
    return model.state_dict()


def train_in_process(rank: int, processes: int, method: str, store: Path, out: Path) -> None:
    """Trains in one of several processes, and writes what came of it."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=processes,
        timeout=datetime.timedelta(seconds=300),
    )
    torch.save(train(method, rank, processes), out / f"{rank}.pt")
    torch.distributed.destroy_process_group()
