"""Every objective under autocast agrees with float32: loss, and direction of the gradient."""

import copy
from typing import Any

import pytest
import torch
from tiny_objective import DIM, FEATURES, SIZE, build, make_batch
from tiny_relation import relate
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from solo_rekd.objectives import BINGO, CRCD, SEED, Batch, CompRess, CoSS, DisCo, ReKD, SimReg
from solo_rekd.objectives.bags import Bags

IMAGES, BAG = 16, 3
REKD = {"num_prototypes": 4, "teacher_warmup_epochs": 0, "relation_view": "views"}
CASES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "rekd online": (ReKD, "online", REKD),
    "rekd frozen": (ReKD, "frozen", REKD),
    "rekd on the teacher's dictionary": (ReKD, "frozen", REKD | {"dictionary": "teacher"}),
    "rekd of whole images": (ReKD, "frozen", REKD | {"relation_view": "image"}),
    "seed": (SEED, "frozen", {}),
    "compress 1q": (CompRess, "frozen", {"variant": "1q"}),
    "compress 2q": (CompRess, "frozen", {"variant": "2q"}),
    "disco": (DisCo, "frozen", {}),
    "crcd": (CRCD, "frozen", {}),
    "simreg": (SimReg, "frozen", {}),
    "coss": (CoSS, "frozen", {}),
    "bingo": (BINGO, "frozen", {"teacher_checkpoint": "a.pt"}),
}
# a ReLU behind a BatchNorm over 16 images: the rounding takes some of its inputs across 0
KINKS = {"simreg": 0.999}
# relative error of the loss, and cosine of the student's gradients; docs/speed.md states them
BOUNDS = {torch.bfloat16: (0.01, 0.999), torch.float16: (0.001, 0.9999)}


def make_student() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8 * SIZE * SIZE, FEATURES),
    )


def draw(seed: int, student: nn.Module) -> Batch:
    """A batch in float32, whose features are the student's, as the host computes them."""
    batch = make_batch(size=IMAGES, seed=seed)
    images = [view.float() for view in batch.images]
    keys = [view.float() for view in batch.momentum_features]
    return batch._replace(
        images=images, features=[student(view) for view in images], momentum_features=keys
    )


def step(objective: Any, student: nn.Module) -> tuple[Tensor, Tensor]:
    """The loss, and the student's gradients in one vector."""
    loss, _ = objective(draw(9, student), epoch=0)
    trained = [*student.parameters(), *objective.projector.parameters()]
    gradients = torch.autograd.grad(loss, trained)
    return loss.detach().double(), torch.cat([each.flatten() for each in gradients]).double()


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_autocast_agrees_with_float32(
    case: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective_class, mode, settings = CASES[case]
    objective = build(objective_class, monkeypatch, mode, **settings).float()
    if objective_class is BINGO:
        members = torch.stack([torch.randperm(IMAGES)[:BAG] for _ in range(IMAGES)])
        objective.bags = Bags(members, normalize(torch.randn(IMAGES, DIM), dim=1))
    if objective_class is ReKD:
        relate(objective)
    student = make_student()
    with torch.no_grad():
        for seed in range(4):
            objective(draw(seed, student), epoch=0)
    mixed, mixed_student = copy.deepcopy(objective), copy.deepcopy(student)
    loss, gradient = step(objective, student)
    with torch.autocast("cpu", dtype=dtype):
        mixed_loss, mixed_gradient = step(mixed, mixed_student)
    error, cosine = BOUNDS[dtype]
    cosine = min(cosine, KINKS.get(case, 1))
    assert abs(mixed_loss - loss) < error * loss.abs()
    assert cosine_similarity(mixed_gradient, gradient, dim=0) > cosine
