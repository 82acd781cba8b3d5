"""Methods of the current host learn from teachers that other libraries build."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from outside_teachers import MEAN, Tiny, write_folder, write_program
from solo.methods import METHODS

from solo_rekd.utils.errors import UserError

Build = Callable[..., Any]


@pytest.mark.parametrize(("name", "width"), [("onnx", 1024), ("huggingface", 32)])
def test_the_objective_learns_from_it(
    name: str, width: int, pretraining: Build, tmp_path: Path
) -> None:
    path = tmp_path
    if name == "onnx":
        path = write_program(path, 32)[1]
    else:
        write_folder(path, 32)
    given = {"teacher": name, "teacher_mode": "frozen", "teacher_checkpoint": path}
    given |= {"proj_output_dim": width}
    method = pretraining("seed", **{f"method_kwargs.{key}": value for key, value in given.items()})
    teacher = method.objective.teacher
    assert teacher.identity["mean"] == list(MEAN) and teacher.num_features == width
    assert teacher(torch.randn(2, 3, 32, 32))[1].shape == (2, width)


def test_the_method_takes_a_module(pretraining: Build) -> None:
    given = {"teacher": "module", "teacher_mode": "frozen", "proj_output_dim": 6}
    words = {f"method_kwargs.{key}": value for key, value in given.items()}
    with pytest.raises(UserError, match="needs a module"):
        pretraining("seed", **words)
    cfg = pretraining("seed").cfg
    for key, value in given.items():
        cfg.method_kwargs[key] = value
    module = Tiny()
    teacher = METHODS["seed"](cfg, teacher=module).objective.teacher
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(teacher(images)[0], module.eval()(images))
