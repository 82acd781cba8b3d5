"""The accuracy that linear evaluation prints in the current host, and what it says of it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from solo.args.linear import parse_cfg
from solo.data.classification_dataloader import prepare_data
from solo.methods.linear import LinearModel
from torch import save, zeros

from solo_rekd.backbones import build_backbone
from solo_rekd.utils.errors import UserError

Judge = Callable[..., str]


@pytest.fixture
def judge(
    compose: Callable[..., Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Judge:
    """Evaluates as `main_linear.py` does, and returns the line that is printed."""

    def run(epochs: int, **trainer: Any) -> str:
        backbone = build_backbone("alexnet", 32)
        state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
        state["classifier.weight"] = zeros(3, 1)
        save({"state_dict": state}, tmp_path / "last.ckpt")
        changes = {"+data.augmentations.crop_size": 32, "scheduler.lr_decay_steps": [9]}
        changes |= {"pretrained_feature_extractor": tmp_path / "last.ckpt", "max_epochs": epochs}
        cfg = parse_cfg(compose("linear", **changes))
        loaders = prepare_data("custom", data / "train", data / "val", batch_size=8, num_workers=0)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        given = {"max_epochs": epochs, "accelerator": "cpu", "devices": 1} | quiet | trainer
        Trainer(default_root_dir=tmp_path, **given).fit(LinearModel(backbone, cfg=cfg), *loaders)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "top-1" in line]
        return line

    return run


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({}, "3 epochs, sgd lr .*, batch 8, 32 px, last epoch\\)"),
        ({"check_val_every_n_epoch": 2}, "3 epochs, .* of epoch 2, step 12 of 18\\)"),
        ({"val_check_interval": 0.75}, "of epoch 3, step 16 of 18\\)"),
        ({"val_check_interval": 0.5}, "32 px, last epoch\\)"),
        ({"limit_val_batches": 2}, "last epoch, on 16 of 24 validation images\\)"),
        ({"fast_dev_run": True}, "1 of 3 epochs, .* on 8 of 24 .*, limit_train_batches 1\\)"),
        ({"max_steps": 8}, "2 of 3 epochs, .* of epoch 1, step 6 of 8\\)"),
        (
            {"callbacks": [EarlyStopping("val_acc1", mode="max", stopping_threshold=0)]},
            "1 of 3 epochs, .* last epoch\\)",
        ),
    ],
)
def test_the_line_says_what_was_judged(trainer: dict[str, Any], said: str, judge: Judge) -> None:
    line = judge(3, **trainer)
    assert line.startswith("linear top-1 ")
    assert re.search(said, line), line


def test_nothing_judged_is_refused_before_training(judge: Judge) -> None:
    with pytest.raises(UserError, match=r"limit_val_batches=0 is not allowed: .* above 0"):
        judge(1, limit_val_batches=0)


def test_no_validation_at_all_is_no_figure(judge: Judge) -> None:
    with pytest.raises(UserError, match=r"no epoch was evaluated: .* check_val_every_n_epoch"):
        judge(1, check_val_every_n_epoch=2)


@pytest.mark.trial
def test_images_that_two_processes_judge_twice_are_counted(
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    data: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(data / "val", tmp_path / "val")
    max(tmp_path.glob("val/*/*.png")).unlink()  # 23 are left
    backbone = build_backbone("alexnet", 32)
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    state["classifier.weight"] = zeros(3, 1)
    save({"state_dict": state}, tmp_path / "last.ckpt")
    changes = {"pretrained_feature_extractor": tmp_path / "last.ckpt", "devices": 2}
    changes |= {"+data.augmentations.crop_size": 32, "data.val_path": tmp_path / "val"}
    changes |= {"strategy": "ddp", "accelerator": "cpu"}
    shown = run_script("main_linear.py", *arguments("linear", **changes))
    assert shown.count("linear top-1") == 1
    assert "last epoch, on 23 validation images, 1 of them twice)" in shown
