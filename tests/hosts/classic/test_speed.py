"""Memory format, compilation and the teacher's precision in runs of the classic host."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.export import export
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
SHORT = {"limit_train_batches": 1, "limit_val_batches": 1}


def weights(run: dict[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run["checkpoint"], weights_only=True)["state_dict"]


def is_channels_last(tensor: torch.Tensor) -> bool:
    return not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def test_every_network_of_a_run_lies_as_is_faster(
    train: Train, frozen_teacher: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "solo_rekd"):
        run = train("rekd", **SHORT, dictionary="both", **frozen_teacher)
    assert "student channels_last" in caplog.text and "teacher channels_last" in caplog.text
    held = weights(run)
    assert is_channels_last(held["encoder.features.0.weight"])
    assert is_channels_last(held["momentum_encoder.features.0.weight"])


def test_the_hosts_own_methods_do_too_and_a_flag_says_otherwise(train: Train) -> None:
    first = weights(train("simclr", **SHORT))
    second = weights(train("simclr", **SHORT, memory_format="contiguous"))
    name = "encoder.features.0.weight"
    assert is_channels_last(first[name]) and second[name].is_contiguous()
    assert first.keys() == second.keys()
    torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5)


def test_a_run_resumes_in_another_format_and_compiled(train: Train, tmp_path: Path) -> None:
    settings = SHORT | {"checkpoint_dir": tmp_path}
    first = train("mocov2plus", memory_format="contiguous", **settings)
    again = settings | {"max_epochs": 2, "resume_from_checkpoint": first["checkpoint"]}
    second = train("mocov2plus", memory_format="channels_last", **again)
    state = torch.load(second["checkpoint"], weights_only=True)
    assert state["epoch"] == 1
    assert is_channels_last(state["state_dict"]["encoder.features.0.weight"])


def test_an_export_is_the_same_from_either_format(train: Train, tmp_path: Path) -> None:
    run = train("simclr", **SHORT)
    state = torch.load(run["checkpoint"], weights_only=True)
    state["state_dict"] = {k: v.contiguous() for k, v in state["state_dict"].items()}
    plain = tmp_path / "plain.ckpt"
    torch.save(state, plain)
    found = []
    for number, path in enumerate((Path(run["checkpoint"]), plain)):
        target = tmp_path / f"{number}.safetensors"
        export(path, target, read_student(path))
        found.append(load_file(target))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_linear_evaluation_takes_the_flag(
    host: ModuleType, flags: Flags, moco: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    judged = {"pretrained_feature_extractor": moco["checkpoint"], "encoder": "resnet18"}
    top = {}
    for name in ("channels_last", "contiguous"):
        caplog.clear()
        with caplog.at_level(logging.INFO, "solo_rekd"):
            argv = flags("linear", **judged, limit_train_batches=1, memory_format=name)
            top[name] = host.linear(argv)["top1"]
        assert f"student {name} (as asked for)" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_format": "nhwc"}, r"memory_format.*'nhwc'.*contiguous"),
        ({"teacher_precision": "bfloat16"}, r"teacher_precision='bfloat16'.*teacher_mode=online"),
    ],
)
def test_what_cannot_be_is_refused(
    host: ModuleType, flags: Flags, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        host.pretrain(flags("pretrain", method="rekd", **settings))


def test_compile_without_a_compiler_is_refused_before_anything_runs(
    host: ModuleType, flags: Flags, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    folder = {"save_checkpoint": True, "checkpoint_dir": tmp_path / "runs"}
    with pytest.raises(UserError, match=r"no-such-compiler.*CXX"):
        host.pretrain(flags("pretrain", method="simclr", compile=True, **folder))
    assert not (tmp_path / "runs").exists()


def test_a_teacher_in_bfloat16_teaches_almost_the_same(
    train: Train, frozen_teacher: dict[str, Any]
) -> None:
    settings = SHORT | frozen_teacher | {"num_prototypes": None, "teacher_warmup_epochs": None}
    exact, half = (
        train("seed", **settings, teacher_precision=precision)
        for precision in ("float32", "bfloat16")
    )
    name = "train_similarity_loss_epoch"
    losses = [run["metrics"][name] for run in (exact, half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.trial
@pytest.mark.parametrize("method", ["rekd", "simclr"])
def test_a_compiled_run_learns_and_keeps_the_same(
    method: str, train: Train, frozen_teacher: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"limit_train_batches": 2} | (frozen_teacher if method == "rekd" else {})
    settings |= {"checkpoint_dir": tmp_path}
    plain = train(method, **settings)
    compiled = train(method, compile=True, **settings)
    assert weights(plain).keys() == weights(compiled).keys()
    for name, value in weights(plain).items():
        if name.startswith("encoder.") and value.is_floating_point():
            torch.testing.assert_close(weights(compiled)[name], value, rtol=0.05, atol=1e-3)
    again = settings | {"max_epochs": 2, "resume_from_checkpoint": compiled["checkpoint"]}
    assert train(method, compile=True, **again)["checkpoint"] != compiled["checkpoint"]
