"""Mistakes that the host meets late, found before its run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import OmegaConf
from solo.args import pretrain

from solo_rekd.utils.errors import UserError

Compose = Callable[..., Any]
GROUP = "a group of settings"


def refusal(cfg: Any) -> str:
    with pytest.raises(UserError) as caught:
        pretrain.parse_cfg(cfg)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"accelerator": "gpu"}, ["accelerator='gpu'", "cpu or auto"]),
        ({"accelerator": "cuda"}, ["accelerator='cuda'", "cpu or auto"]),
        ({"data.dataset": "costum"}, ["data.dataset='costum'", "expected custom"]),
        ({"data.format": "image_foldr"}, ["data.format='image_foldr'", "image_folder, dali, h5"]),
        ({"data.format": "h5"}, ["data.format='h5'", "image_folder"]),
        ({"data.format": "h5", "data.dataset": "imagenet"}, ["h5"]),
        ({"+data.fraction": 2}, ["data.fraction=2", "between 0 and 1"]),
        ({"data.num_workers": 100_000}, ["data.num_workers=100000", "to 1024"]),
        ({"backbone.name": "vit_tiny"}, ["crop_size=32", "vit_tiny", "224"]),
        ({"backbone.name": "swin_tiny", "crop_size": 31}, ["crop_size=31", "swin_tiny"]),
        ({"+limit_train_batches": 0}, ["limit_train_batches=0", "1 or more"]),
        ({"+limit_train_batches": "many"}, ["limit_train_batches='many'", "a number"]),
        ({"+accumulate_grad_batches": 0}, ["accumulate_grad_batches=0", "1 or more"]),
        ({"+resume_from_checkpoint": "none.ckpt"}, ["none.ckpt", "does not exist"]),
        ({"seed": "abc"}, ["seed='abc'", "a whole number"]),
    ],
)
def test_a_mistake_names_key_and_value(
    changes: dict[str, Any], parts: list[str], compose: Compose
) -> None:
    message = refusal(compose("rekd", **changes))
    assert [part for part in parts if part not in message] == []


def test_dino_s_temperature_rises_no_longer_than_the_training(compose: Compose) -> None:
    rise = "method_kwargs.warmup_teacher_temperature_epochs"
    cfg = compose("rekd", method="dino", max_epochs=4)
    cfg.method_kwargs = {"warmup_teacher_temperature_epochs": 5}
    message = refusal(cfg)
    assert f"{rise}=5" in message and "at most 4" in message


@pytest.mark.parametrize("group", ["data", "optimizer", "backbone", "scheduler", "wandb"])
@pytest.mark.parametrize("value", [None, "text", []])
def test_a_group_that_is_none_is_named(group: str, value: Any, compose: Compose) -> None:
    cfg = compose("rekd")
    cfg[group] = value
    message = refusal(cfg)
    assert message.startswith(f"{group}=") and GROUP in message


@pytest.mark.parametrize("value", [None, [], "text", [None], [{"crop_size": None}]])
def test_views_that_are_none_are_named(value: Any, compose: Compose) -> None:
    cfg = compose("rekd")
    cfg.augmentations = value
    assert refusal(cfg).startswith("augmentations")


@pytest.mark.parametrize("key", ["optimizer.lr", "backbone.name", "data.dataset", "max_epochs"])
def test_a_setting_that_is_missing_is_named(key: str, compose: Compose) -> None:
    cfg = compose("rekd")
    OmegaConf.update(cfg, key, None)
    assert refusal(cfg).startswith(f"{key} is missing")


def test_a_method_that_is_missing_is_named(compose: Compose) -> None:
    assert refusal(compose("rekd", method=None)).startswith("method=None")


def test_a_class_without_images_is_named(compose: Compose, data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for name in ("a", "b", "c"):
            (tmp_path / split / name).symlink_to(data / split / name)
        (tmp_path / split / "unicorn").mkdir()
    (tmp_path / "train" / "unicorn" / "notes.txt").write_text("")
    paths = {f"data.{split}_path": tmp_path / split for split in ("train", "val")}
    message = refusal(compose("rekd", **paths))
    assert message.startswith("data.train_path=") and "unicorn" in message


def test_a_file_is_no_place_for_checkpoints(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        changes = {"checkpoint.enabled": True, "checkpoint.dir": place}
        assert refusal(compose("rekd", **changes)).startswith("checkpoint.dir=")


def test_wandb_that_is_not_installed_is_named(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose("rekd")
    OmegaConf.update(cfg, "wandb.enabled", True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "wandb missing" in refusal(cfg)


def test_another_runs_settings_are_its_own(compose: Compose) -> None:
    cfg = compose("mocov2plus", **{"backbone.name": "resnet18", "accelerator": "gpu"})
    assert pretrain.parse_cfg(cfg).accelerator == "gpu"
