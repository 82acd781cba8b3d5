"""What the tests of every objective share: tiny float64 networks and batches of random views."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from solo_rekd.checkpoints import two_layer_projector
from solo_rekd.config import DistillationConfig
from solo_rekd.objectives import Batch, DistillationObjective, HostRun, distillation
from solo_rekd.teachers import FrozenTeacher, OnlineTeacher
from solo_rekd.teachers.teacher import make_identity

SIZE, FEATURES, TEACHER_FEATURES, DIM, CLASSES, QUEUE, EPOCHS = 4, 6, 7, 5, 3, 12, 10


class TinyBackbone(nn.Sequential):
    """Images of SIZE px to TEACHER_FEATURES features."""

    num_features = TEACHER_FEATURES

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, TEACHER_FEATURES), nn.Tanh())


def build(
    objective_class: type[DistillationObjective],
    monkeypatch: pytest.MonkeyPatch,
    mode: str = "online",
    teacher_dim: int = DIM,
    **settings: Any,
) -> Any:
    """Builds a float64 objective with a tiny teacher, the same in every call.

    `mode` is online, frozen, or pretrained: an online teacher as from a checkpoint.
    """
    torch.manual_seed(0)
    teacher_class = FrozenTeacher if mode == "frozen" else OnlineTeacher
    teacher = teacher_class(
        TinyBackbone(),
        two_layer_projector(TEACHER_FEATURES, 9, teacher_dim),
        make_identity(mode, checkpoint="t.pth" if mode == "pretrained" else None),
    )
    monkeypatch.setattr(distillation, "build_teacher", lambda *args: teacher)
    sizes = {"queue_size": QUEUE, "proj_hidden_dim": 8, "proj_output_dim": DIM}
    told = {"teacher_mode": "frozen" if mode == "frozen" else "online"}
    if mode != "online":
        told["teacher_checkpoint"] = "t.pth"
    config: DistillationConfig = objective_class.config_class(**sizes | told | settings)
    return objective_class(config, HostRun(FEATURES, CLASSES, SIZE, EPOCHS)).double()


def make_batch(size: int = 5, seed: int = 0) -> Batch:
    """Random views, float64."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> list[Tensor]:
        return [torch.randn(*shape, generator=g, dtype=torch.float64) for _ in range(2)]

    images, features, momentum = (
        draw(size, 3, SIZE, SIZE),
        draw(size, FEATURES),
        draw(size, FEATURES),
    )
    labels = torch.randint(0, CLASSES, (size,), generator=g)
    return Batch(images, features, momentum, labels, torch.arange(size))


def rows_of(batch: Batch, rows: Any) -> Batch:
    """The batch with some of its rows, or in another order."""

    def pick(part: Any) -> Any:
        return [view[rows] for view in part] if isinstance(part, list) else part[rows]

    return Batch(*map(pick, batch[:5]))


def fill(objective: Any, epoch: int = 0) -> Any:
    """Fills the queues with batches that do not divide them, and returns the objective."""
    for seed in range(4):
        objective(make_batch(seed=seed), epoch=epoch)
    return objective


def assert_only_these_get_gradients(
    losses: dict[str, Tensor], reaches: dict[str, list[Tensor]]
) -> None:
    """Checks which tensors each loss reaches.

    Args:
        losses: what the objective logged.
        reaches: for the name of a loss the tensors that it trains, all others of them being those
            that it must not.
    """
    everything = [tensor for tensors in reaches.values() for tensor in tensors]
    for name, reached in reaches.items():
        gradients = torch.autograd.grad(
            losses[name], everything, retain_graph=True, allow_unused=True
        )
        touched = {id(t) for t, g in zip(everything, gradients, strict=True) if g is not None}
        assert touched == {id(t) for t in reached}, name
