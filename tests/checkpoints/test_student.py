import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CURRENT_HOST
from solo_rekd.checkpoints.student import load_student
from solo_rekd.utils.errors import UserError


@pytest.fixture(scope="module")
def student() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("alexnet", 32)


def save(path: Path, net: nn.Module, **changes: torch.Tensor | None) -> Path:
    """Saves a checkpoint of the host, with decoys of the twin and the teacher beside the student.

    Dots in the names of changed tensors are written as double underscores; None leaves one out.
    """
    state = {f"encoder.{name}": value for name, value in net.state_dict().items()}
    state |= {f"momentum_encoder.{name}": value + 1 for name, value in net.state_dict().items()}
    state |= {"classifier.weight": torch.zeros(1), "objective.teacher.backbone.a": torch.zeros(1)}
    for name, value in changes.items():
        key = "encoder." + name.replace("__", ".")
        assert state.pop(key) is not None
        if value is not None:
            state[key] = value
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


def test_loads_every_weight_and_says_so(
    student: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "run.ckpt", student)
    other = build_backbone("alexnet", 32)
    with caplog.at_level(logging.INFO, "solo_rekd"):
        load_student(path, "alexnet", other)
    for name, value in student.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    number = len(student.state_dict())
    said = f"alexnet: matched {number} of {number} backbone weights of {path}"
    assert said in caplog.messages


@pytest.mark.parametrize(
    "changes",
    [
        {"features__0__weight": None},
        {"features__1__running_mean": None},
        {"features__0__weight": torch.zeros(64, 3, 11, 11)},
    ],
    ids=["no weight", "no statistic", "other shape"],
)
def test_loads_all_or_nothing(
    changes: dict[str, torch.Tensor | None], student: nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "run.ckpt", student, **changes)
    other = build_backbone("alexnet", 32)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    (key,) = changes
    with pytest.raises(UserError) as caught:
        load_student(path, "alexnet", other)
    message = str(caught.value)
    assert message.startswith(f"pretrained_feature_extractor={str(path)!r}: ")
    assert key.replace("__", ".") in message
    assert "\n" not in message
    for name, value in before.items():
        assert torch.equal(other.state_dict()[name], value), name


def test_only_the_format_that_a_host_reads(student: nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "run.ckpt", student)
    other = build_backbone("alexnet", 32)
    load_student(path, "alexnet", other, only=CLASSIC_HOST)
    message = rf"run\.ckpt.*checkpoints of {CURRENT_HOST}, .* of {CLASSIC_HOST}"
    with pytest.raises(UserError, match=message):
        load_student(path, "alexnet", other, only=CURRENT_HOST)


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"], ids=["none", "empty", "text"])
def test_unreadable_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.ckpt"):
        load_student(path, "alexnet", nn.Identity())


def test_a_host_s_script_does_not_get_what_torch_load_refuses(
    student: nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "run.ckpt", student)
    content = torch.load(path)
    torch.save({**content, "output": tmp_path}, path)
    load_student(path, "alexnet", student)
    with pytest.raises(UserError, match=r"pathlib\.PosixPath"):
        load_student(path, "alexnet", student, only=CLASSIC_HOST)
    save_file(content["state_dict"], path)
    load_student(path, "alexnet", student)
    with pytest.raises(UserError, match="safetensors"):
        load_student(path, "alexnet", student, only=CLASSIC_HOST)
