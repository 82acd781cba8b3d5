"""The current host's own scripts, unmodified, with nothing but the plug-in installed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import command
from safetensors import safe_open
from safetensors.torch import load_file

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

Script = Callable[..., str]
Arguments = Callable[..., list[str]]

pytestmark = pytest.mark.slow


def saved(folder: Path, job: str) -> Path:
    (checkpoint,) = folder.glob(f"trained_models/{job}/*/*.ckpt")
    return checkpoint


@pytest.mark.parametrize(
    ("method", "backbone", "hook"),
    [
        ("rekd", "alexnet", False),  # by Hydra's discovery alone
        pytest.param("rekd", "mobilenet_v3_small", True, marks=pytest.mark.trial),
        pytest.param("mocov2plus", "mobilenet_v3_small", False, marks=pytest.mark.trial),
        ("mocov2plus", "alexnet", True),
    ],
)
def test_pretrains_and_evaluates(
    method: str,
    backbone: str,
    hook: bool,
    run_script: Script,
    arguments: Arguments,
    tmp_path: Path,
    data: Path,
) -> None:
    student = {"backbone.name": backbone}
    run_script("main_pretrain.py", *arguments(method, **student), hook=hook)
    checkpoint = saved(tmp_path, method)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())

    command("export", checkpoint, target := tmp_path / "student.safetensors")
    for name, tensor in load_file(target).items():
        assert torch.equal(state[f"backbone.{name}"], tensor), name
    with safe_open(target, "pt") as file:
        told = file.metadata()
    assert (told["encoder"], told["crop_size"], told["stem"]) == (backbone, "32", "small")

    weights = {"pretrained_feature_extractor": f"'{checkpoint}'", "checkpoint.enabled": True}
    argv = arguments("linear", **student, **weights)
    shown = run_script("main_linear.py", *argv, hook=hook)
    assert re.search(r"linear top-1 \d+\.\d\d, top-5 100\.00 \(.*, 1 epochs, sgd .* 32 px", shown)
    evaluated = torch.load(saved(tmp_path, "linear"), weights_only=True)["state_dict"]
    names = [name for name in state if name.startswith("backbone.")]
    assert names
    for name in names:
        assert torch.equal(state[name], evaluated[name]), name

    folders = ["--train_data_path", str(data / "train"), "--val_data_path", str(data / "val")]
    protocol = ["--k", "5", "--feature_type", "backbone", "projector", "--num_workers", "0"]
    run = ["--pretrained_checkpoint_dir", str(checkpoint.parent)]
    shown = run_script("main_knn.py", "--dataset", "custom", *folders, *protocol, *run)
    assert shown.count("distance_fx=cosine, k=5, T=0.07") == 2
    assert len(re.findall(r"Result: acc@1=\d+\.\d+, acc@5=100\.0", shown)) == 2


def test_switched_off_it_is_not_there(run_script: Script, arguments: Arguments) -> None:
    shown = run_script("main_pretrain.py", *arguments("rekd"), code=1, autoload="0")
    assert "Cannot find primary config 'rekd'" in shown


@pytest.mark.trial
def test_pretrains_in_two_processes(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    two = {"devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    run_script("main_pretrain.py", *arguments("rekd", **two))
    state = torch.load(saved(tmp_path, "rekd"), weights_only=True)["state_dict"]
    assert int(state["objective.queues.0.seen"]) == 48
    assert int(state["objective.bank.steps"]) == 1


def test_loads_by_dali(run_script: Script, arguments: Arguments, tmp_path: Path) -> None:
    pytest.importorskip("nvidia.dali")
    dali = {"data.format": "dali"}
    run_script("main_pretrain.py", *arguments("rekd", **dali))
    weights = {"pretrained_feature_extractor": f"'{saved(tmp_path, 'rekd')}'"}
    shown = run_script("main_linear.py", *arguments("linear", **dali, **weights))
    assert "linear top-1" in shown


def test_trains_without_labels(
    run_script: Script, arguments: Arguments, tmp_path: Path, data: Path
) -> None:
    flat = {"data.train_path": data / "flat", "data.val_path": "null", "data.no_labels": True}
    run_script("main_pretrain.py", *arguments("rekd", **flat))
    state = torch.load(saved(tmp_path, "rekd"), weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert (state["objective.queues.0.labels"] == -1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method_kwargs.own_weight": 2}, "own_weight=2.0 is not allowed: expected a number from"),
        pytest.param(
            {"method_kwargs.own_wight": 1},
            "method_kwargs.own_wight=1 is not allowed: expected own_weight, or",
            marks=pytest.mark.trial,
        ),
        ({"backbone.name": "timm:nothing"}, "backbone.name='timm:nothing' is not allowed: exp"),
    ],
)
def test_a_users_mistake_is_one_line(
    changes: dict[str, object],
    message: str,
    run_script: Script,
    arguments: Arguments,
    tmp_path: Path,
) -> None:
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    assert "Traceback" not in shown and "Error executing job" not in shown
    assert shown.splitlines()[-1].startswith(f"solo-rekd: error: {message}")
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_leaves_no_checkpoint(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"optimizer.lr": 1e30, "max_epochs": 2}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    assert "Traceback" not in shown
    assert "solo-rekd: error: the training diverged in epoch 1 (" in shown.splitlines()[-1]
    assert len(re.findall(r"step \d: The loss is not a finite number\. Try", shown)) == 1
    assert not list(tmp_path.rglob("*.ckpt"))


def test_an_image_that_cannot_be_decoded_is_named(
    run_script: Script, arguments: Arguments, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / "train", tmp_path / "train")
    broken = max(tmp_path.glob("train/**/*.png"))
    broken.write_bytes(broken.read_bytes()[:-40])
    changes: dict[str, object] = {"data.train_path": tmp_path / "train", "data.num_workers": 1}
    shown = run_script("main_pretrain.py", *arguments("mocov2plus", **changes), code=2)
    assert "Traceback" not in shown
    line = f"solo-rekd: error: {broken} cannot be decoded: image file is truncated"
    assert shown.splitlines()[-1] == line


def test_another_teacher_does_not_resume(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes: dict[str, object] = {"scheduler.name": "none"}
    run_script("main_pretrain.py", *arguments("rekd", **changes))
    changes |= {"+resume_from_checkpoint": f"'{saved(tmp_path, 'rekd')}'", "max_epochs": 2}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes))
    assert "Restored all states" in shown or "Restoring states" in shown
    changes["method_kwargs.teacher"] = "timm:resnet14t"
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    last = shown.splitlines()[-1]
    assert "teacher name='timm:resnet14t' differs from that of the checkpoint to resume" in last


def test_a_batch_that_the_images_do_not_fill(run_script: Script, arguments: Arguments) -> None:
    changes = {"optimizer.batch_size": 49}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    last = shown.splitlines()[-1]
    assert "batch_size=49 is not allowed" in last and last.endswith("images, 48")
