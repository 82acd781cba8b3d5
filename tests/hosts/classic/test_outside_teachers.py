"""Runs of the classic host learn from teachers that other libraries build."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from outside_teachers import MEAN, Tiny, write_folder, write_program

from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("onnx", 1024), ("huggingface", 32)])
def test_a_run_learns_from_it_and_resumes(
    name: str, width: int, train: Train, tmp_path: Path
) -> None:
    path = tmp_path / "teacher"
    path.mkdir()
    if name == "onnx":
        path = write_program(path, 32)[1]
    else:
        write_folder(path, 32)
    given = {"teacher": name, "teacher_mode": "frozen", "teacher_checkpoint": path}
    given |= {"proj_output_dim": width, "limit_val_batches": 0, "limit_train_batches": 2}
    run = train("seed", **given)
    record = torch.load(run["checkpoint"], weights_only=True)["solo_rekd"]
    assert record["teacher"]["mean"] == list(MEAN) and record["teacher"]["name"] == name
    assert record["teacher_facts"]["num_features"] == width
    assert not any("teacher." in key for key in torch.load(run["checkpoint"])["state_dict"])
    resumes = {"resume_from_checkpoint": run["checkpoint"], "max_epochs": 2}
    train("seed", **given, **resumes)
    with pytest.raises(UserError, match="teacher_mode"):
        train("seed", **given | {"teacher": "onnx", "teacher_mode": "online"})


def test_the_method_takes_a_module(host: Any, flags: Callable[..., list[str]]) -> None:
    changes = {"teacher": "module", "teacher_mode": "frozen", "proj_output_dim": 6}
    args = host.parse_pretrain(flags("pretrain", method="seed", **changes))
    module = Tiny()
    objective = host.METHODS["seed"](teacher_module=module, **vars(args)).objective
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(objective.teacher(images)[0], module.eval()(images))
    with pytest.raises(UserError, match="needs a module"):
        host.METHODS["seed"](**vars(args))
