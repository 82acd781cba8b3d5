"""The images of a run in the current host: what is read, left out and refused, and the classes."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.args import knn, linear, pretrain
from solo.data import classification_dataloader, pretrain_dataloader
from solo.data.pretrain_dataloader import (
    FullTransformPipeline,
    NCropAugmentation,
    build_transform_pipeline,
    prepare_datasets,
)
from torchvision.datasets import ImageFolder

from solo_rekd.backbones import build_backbone
from solo_rekd.images.sets import ClassFolders
from solo_rekd.utils.errors import UserError

Script = Callable[..., str]
Arguments = Callable[..., list[str]]


@pytest.fixture
def folders(data: Path, tmp_path: Path) -> Path:
    """The images of `data` to be changed: `train`, `val` and `flat`."""
    for name in ("train", "val", "flat"):
        shutil.copytree(data / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def hidden(folders: Path) -> dict[str, Any]:
    """Settings of images with a copy of one where an editor puts it, in both splits."""
    for split in ("train", "val"):
        (folders / split / ".ipynb_checkpoints").mkdir()
        shutil.copy(folders / split / "a" / "00.png", folders / split / ".ipynb_checkpoints")
    return {"data.train_path": folders / "train", "data.val_path": folders / "val"}


def training_set(cfg: Any) -> Any:
    """Builds the training set as `main_pretrain.py` does."""
    (crop,) = cfg.augmentations
    pipeline = build_transform_pipeline(cfg.data.dataset, crop)
    transform = FullTransformPipeline([NCropAugmentation(pipeline, crop.num_crops)])
    return prepare_datasets(
        cfg.data.dataset,
        transform,
        train_data_path=cfg.data.train_path,
        data_format=cfg.data.format,
        no_labels=cfg.data.no_labels,
        data_fraction=cfg.data.fraction,
    )


def flat(folders: Path) -> dict[str, Any]:
    return {"data.train_path": folders / "flat", "data.val_path": "null", "data.no_labels": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "labels"),
    [
        ("spawn", True),
        ("forkserver", False),
        pytest.param("spawn", False, marks=pytest.mark.trial),
        pytest.param("forkserver", True, marks=pytest.mark.trial),
    ],
)
def test_the_workers_of_a_pretraining_may_be_spawned(
    start: str, labels: bool, compose: Callable[..., Any], folders: Path
) -> None:
    changes = {} if labels else flat(folders)
    dataset = training_set(pretrain.parse_cfg(compose("rekd", **changes)))
    loader = DataLoader(dataset, 8, num_workers=1, multiprocessing_context=start)
    indexes, crops, classes = next(iter(loader))
    assert indexes.tolist() == list(range(8))
    assert [crop.shape for crop in crops] == [(8, 3, 32, 32)] * 2
    assert set(classes.tolist()) == ({0} if labels else {-1})


@pytest.mark.parametrize("labels", [True, False])
def test_a_share_of_the_images(labels: bool, compose: Callable[..., Any], folders: Path) -> None:
    changes = {} if labels else flat(folders)
    cfg = pretrain.parse_cfg(compose("rekd", **changes, **{"+data.fraction": 0.5}))
    assert len(training_set(cfg)) == 24


def test_hidden_folders_are_no_classes(
    compose: Callable[..., Any], hidden: dict[str, Any], tmp_path: Path
) -> None:
    cfg = pretrain.parse_cfg(compose("rekd", **hidden))
    assert cfg.data.num_classes == 3
    dataset = training_set(cfg)
    assert (dataset.classes, len(dataset)) == (["a", "b", "c"], 48)

    network = build_backbone("alexnet", 224).state_dict()
    state = {f"backbone.{name}": value for name, value in network.items()}
    state["classifier.weight"] = torch.zeros(3, 1)
    torch.save({"state_dict": state}, path := tmp_path / "last.ckpt")
    weights = {"pretrained_feature_extractor": f"'{path}'", "+data.augmentations.crop_size": 224}
    cfg = linear.parse_cfg(compose("linear", **hidden, **weights))
    assert cfg.data.num_classes == 3
    assert classification_dataloader.ImageFolder is ClassFolders


def test_knn_of_a_run_of_ours_reads_as_it_was_trained(
    hidden: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, folder in (("rekd", ClassFolders), ("simclr", ImageFolder)):
        run = {"method": method, "backbone": {"name": "resnet18"}}
        run["augmentations"] = [{"crop_size": 32}]
        (tmp_path / "args.json").write_text(json.dumps(run))
        torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
        argv = ["main_knn.py", "--dataset", "custom", "--pretrained_checkpoint_dir", str(tmp_path)]
        for key, path in hidden.items():
            argv += [f"--{key.removeprefix('data.').replace('_', '_data_')}", str(path)]
        monkeypatch.setattr(sys, "argv", argv)
        knn.parse_args_knn()
        assert classification_dataloader.ImageFolder is folder


def test_a_run_of_the_host_keeps_the_hosts_data_sets(
    compose: Callable[..., Any], hidden: dict[str, Any]
) -> None:
    pretrain.parse_cfg(compose("rekd", **hidden))
    assert pretrain_dataloader.ImageFolder is ClassFolders
    cfg = pretrain.parse_cfg(compose("mocov2plus", **hidden, **{"backbone.name": "resnet18"}))
    assert cfg.data.num_classes == 4
    assert pretrain_dataloader.ImageFolder is ImageFolder
    assert classification_dataloader.ImageFolder is ImageFolder
    for name in ("CustomDatasetWithoutLabels", "dataset_with_index"):
        assert getattr(pretrain_dataloader, name).__module__ == "solo.data.pretrain_dataloader"
    assert "custom" not in pretrain._N_CLASSES_PER_DATASET


def test_deep_images_are_refused(compose: Callable[..., Any], folders: Path) -> None:
    Image.fromarray(np.full((32, 32), 30_000, np.uint16)).save(folders / "train/a/00.png")
    changes = {"data.train_path": folders / "train"}
    with pytest.raises(UserError, match=r"00\.png has .* pixels: .* 8 bits"):  # to be recorded
        pretrain.parse_cfg(compose("rekd", **changes))
    cfg = pretrain.parse_cfg(compose("rekd", **changes, **{"checkpoint.enabled": False}))
    with pytest.raises(UserError, match=r"00\.png has .* pixels: .* 8 bits"):
        training_set(cfg)


def test_a_missing_image_is_not_called_damaged(compose: Callable[..., Any], folders: Path) -> None:
    (folders / "train" / "b" / "gone.png").symlink_to("nowhere.png")
    changes = {"data.train_path": folders / "train"}
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        pretrain.parse_cfg(compose("rekd", **changes))
    cfg = pretrain.parse_cfg(compose("rekd", **changes, **{"checkpoint.enabled": False}))
    dataset = training_set(cfg)
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        list(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_script_says_once_what_is_left_out(
    processes: int, run_script: Script, arguments: Arguments, folders: Path
) -> None:
    Image.new("RGB", (32, 32)).save(folders / "train" / "a" / "more.gif")
    changes: dict[str, Any] = {"data.train_path": folders / "train", "data.num_workers": 1}
    if processes > 1:
        changes |= {"devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes))
    (line,) = (line for line in shown.splitlines() if "left out" in line)
    for fragment in (str(folders / "train"), "1 of 49", "1 .gif", ".jpeg"):
        assert fragment in line


@pytest.mark.slow
def test_a_script_refuses_deep_images_before_it_writes(
    run_script: Script, arguments: Arguments, folders: Path
) -> None:
    for path in folders.glob("*/*/*.png"):
        Image.fromarray(np.full((32, 32), 30_000, np.uint16)).save(path)
    before = sorted(folders.iterdir())
    changes = {"data.train_path": folders / "train", "data.val_path": folders / "val"}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    assert "Traceback" not in shown
    assert "8 bits" in shown.splitlines()[-1]
    assert sorted(folders.iterdir()) == before


def test_decoded_images_by_a_key(
    compose: Callable[..., Any], folders: Path, tmp_path: Path
) -> None:
    paths = {f"data.{name}_path": folders / name for name in ("train", "val")}
    keys = {"+data.decoded_images": tmp_path / "kept", "+data.transforms": "v2"}
    cfg = pretrain.parse_cfg(compose("rekd", **paths, **keys))
    for path in folders.rglob("*.png"):
        path.write_bytes(b"none")
    view = FullTransformPipeline(
        [NCropAugmentation(build_transform_pipeline("custom", cfg.augmentations[0]), 2)]
    )
    dataset = prepare_datasets("custom", view, train_data_path=cfg.data.train_path)
    assert dataset.loader.tensors
    index, crops, _ = dataset[5]
    assert (index, [crop.shape for crop in crops]) == (5, [(3, 32, 32)] * 2)


def test_an_impossible_choice_of_decoded_images(compose: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"transforms='v3' is not allowed: expected auto, host, v2"):
        pretrain.parse_cfg(compose("rekd", **{"+data.transforms": "v3"}))
