"""What the current host's checkpoints record of a run, and which run resumes them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import DictConfig, OmegaConf
from solo.utils.auto_resumer import AutoResumer

from solo_rekd.checkpoints.run_record import KEY, make_record

Build = Callable[..., Any]
Script = Callable[..., str]
Arguments = Callable[..., list[str]]
SAVING = {"checkpoint.enabled": True}


def save(path: Path, cfg: DictConfig) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = OmegaConf.to_container(cfg, resolve=True)
    torch.save({"state_dict": {}, KEY: make_record(settings)}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "resumes"),
    [
        ({}, True),
        ({"data.num_workers": 1}, True),
        ({"checkpoint.frequency": 3}, True),
        ({"+limit_val_batches": 0}, True),
        ({"method_kwargs.temperature": 0.1}, False),
        ({"method_kwargs.teacher": "timm:resnet14t"}, False),
        ({"seed": 6}, False),
        ({"optimizer.lr": 0.2}, False),
        ({"optimizer.weight_decay": 0.2}, False),
        ({"scheduler.warmup_epochs": 1}, False),
        ({"scheduler.name": "none"}, False),
        ({"augmentations.0.color_jitter.hue": 0.2}, False),
        ({"augmentations.0.rrc.crop_min_scale": 0.3}, False),
        ({"crop_size": 48}, False),
        ({"momentum.base_tau": 0.5}, False),
        ({"precision": "bf16-mixed"}, False),
        ({"+accumulate_grad_batches": 2}, False),
        ({"+limit_train_batches": 2}, False),
        ({"devices": 2}, False),
    ],
    ids=str,
)
def test_auto_resume_takes_the_same_run_only(
    changes: dict[str, Any], resumes: bool, pretraining: Build, tmp_path: Path
) -> None:
    checkpoint = save(tmp_path / "run" / "rekd-ep=0.ckpt", pretraining("rekd", **SAVING).cfg)
    later = pretraining("rekd", **SAVING, **changes)
    found, _ = AutoResumer(tmp_path, max_hours=1).find_checkpoint(later.cfg)
    assert found == (checkpoint if resumes else None)


def test_images_are_told_apart_by_their_content(
    pretraining: Build, data: Path, tmp_path: Path
) -> None:
    checkpoint = save(tmp_path / "run" / "rekd-ep=0.ckpt", pretraining("rekd", **SAVING).cfg)
    moved = tmp_path / "moved"
    shutil.copytree(data / "train", moved)
    places = {"data.train_path": moved, "data.val_path": data / "val"}
    finder = AutoResumer(tmp_path, max_hours=1)
    assert finder.find_checkpoint(pretraining("rekd", **SAVING, **places).cfg)[0] == checkpoint
    first, second = moved / "a" / "00.png", moved / "b" / "00.png"
    first.write_bytes(second.read_bytes())
    assert finder.find_checkpoint(pretraining("rekd", **SAVING, **places).cfg)[0] is None


def test_a_run_without_anything_of_ours_is_left_to_the_host(
    pretraining: Build, tmp_path: Path
) -> None:
    theirs = {"backbone.name": "resnet18", "knn_eval.enabled": False}
    cfg = pretraining("mocov2plus", **theirs).cfg
    assert KEY not in cfg
    (tmp_path / "run").mkdir()
    checkpoint = tmp_path / "run" / "mocov2plus-ep=0.ckpt"
    checkpoint.touch()
    (tmp_path / "run" / "args.json").write_text(json.dumps(OmegaConf.to_container(cfg)))
    assert AutoResumer(tmp_path, max_hours=1).find_checkpoint(cfg)[0] == checkpoint
    assert KEY in pretraining("mocov2plus").cfg  # on a backbone of ours


@pytest.mark.slow
def test_a_run_is_recorded_whole_and_to_its_last_epoch(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"max_epochs": 2, "checkpoint.frequency": 2, "+checkpoint.keep_prev": True}
    run_script("main_pretrain.py", *arguments("mocov2plus", **changes))
    first, last = sorted(tmp_path.glob("trained_models/mocov2plus/*/*.ckpt"))
    assert (first.name[-9:], last.name[-9:]) == ("ep=0.ckpt", "ep=1.ckpt")
    record = torch.load(last, weights_only=True)[KEY]
    assert record["method"] == "mocov2plus"
    assert record["settings"]["backbone"]["kwargs"]["img_size"] == 32
    # judged where nothing is beside it, and resumed where the newest is torn
    moved = shutil.copy(last, tmp_path / "mine.ckpt")
    weights = {"pretrained_feature_extractor": f"'{moved}'"}
    shown = run_script("main_linear.py", *arguments("linear", **weights))
    assert "32 px" in shown
    last.write_bytes(last.read_bytes()[:5000])
    changes["auto_resume.enabled"] = True
    shown = run_script("main_pretrain.py", *arguments("mocov2plus", **changes))
    assert last.name in shown  # passed over
    assert first.name in shown
    assert len(list(tmp_path.glob("trained_models/mocov2plus/*/*ep=1.ckpt"))) == 2


@pytest.mark.slow
def test_runs_that_were_started_elsewhere_do_not_share_a_folder(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    for start in ("here", "there"):
        (tmp_path / start).mkdir()
        changes = {"checkpoint.dir": tmp_path / "runs", "+default_root_dir": tmp_path / start}
        run_script("main_pretrain.py", *arguments("mocov2plus", **changes, seed=len(start)))
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("runs/mocov2plus/*/args.json")]
    assert sorted(run["seed"] for run in runs) == [4, 5]
    assert len(list(tmp_path.glob("runs/mocov2plus/*/*.ckpt"))) == 2


@pytest.mark.slow
def test_a_method_that_keeps_a_function_in_its_schedule_resumes(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    heads = {f"method_kwargs.{name}": 16 for name in ("proj_hidden_dim", "proj_output_dim")}
    changes: dict[str, Any] = heads | {
        "+method_kwargs.pred_hidden_dim": 8, "method": "simsiam", "+checkpoint.keep_prev": True,
        "max_epochs": 2,
    }  # fmt: skip
    run_script("main_pretrain.py", *arguments("mocov2plus", **changes))
    first, last = sorted(tmp_path.glob("trained_models/simsiam/*/*.ckpt"))
    ended = torch.load(last, weights_only=True)
    changes["+resume_from_checkpoint"] = f"'{first}'"
    last.unlink()
    run_script("main_pretrain.py", *arguments("mocov2plus", **changes))
    resumed = torch.load(
        max(tmp_path.glob("trained_models/simsiam/*/*ep=1.ckpt")), weights_only=True
    )
    rates = [
        [group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]]
        for checkpoint in (ended, resumed)
    ]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [({"optimizer.lr": 0.2}, "optimizer.lr="), ({"max_epochs": 3}, "max_epochs=3 was 1")],
)
def test_resuming_with_a_setting_that_would_go_unheeded_is_refused(
    change: dict[str, Any], reason: str, run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    run_script("main_pretrain.py", *arguments("rekd"))
    (checkpoint,) = tmp_path.glob("trained_models/rekd/*/*.ckpt")
    again = {"+resume_from_checkpoint": f"'{checkpoint}'", "checkpoint.dir": "again"}
    shown = run_script("main_pretrain.py", *arguments("rekd", **again, **change), code=2)
    assert reason in shown.splitlines()[-1]
    assert not (tmp_path / "again").exists()
