"""A student whose head is one linear layer: its checkpoint is read as any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.export import export
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]


def test_its_checkpoint_is_a_teacher_and_a_student(
    train: Train, frozen_teacher: dict[str, Any], tmp_path: Path
) -> None:
    short = {"limit_train_batches": 2, "limit_val_batches": 0}
    path = Path(train("disco", **frozen_teacher, **short, projector="linear")["checkpoint"])
    state = torch.load(path, weights_only=True)["state_dict"]
    head = {name for name in state if name.startswith("objective.projector.")}
    assert head == {"objective.projector.0.weight", "objective.projector.0.bias"}
    projector = load_networks(path, "alexnet", img_size=32).projector
    assert projector is not None
    assert [type(layer) for layer in projector] == [nn.Linear]
    assert torch.equal(projector[0].weight, state["objective.projector.0.weight"])
    target = tmp_path / "student.safetensors"
    facts = export(path, target, {"encoder": "alexnet", "crop_size": 32})
    assert target.stat().st_size and facts["encoder"] == "alexnet"

    resume = {"max_epochs": 2, "resume_from_checkpoint": path}
    with pytest.raises(UserError, match="projector"):
        train("disco", **frozen_teacher, **short, **resume)
