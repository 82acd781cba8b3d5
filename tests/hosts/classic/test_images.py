"""The images of a run in the classic host: what is read, left out and refused, and the classes."""

import logging
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from command import judge
from PIL import Image
from torch.utils.data import DataLoader

from solo_rekd.images import files
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]
HIDDEN = ".ipynb_checkpoints"


@pytest.fixture
def folders(data: Path, tmp_path: Path) -> Path:
    """The images of `data` to be changed: `train`, `val` and `flat`."""
    for name in ("train", "val", "flat"):
        shutil.copytree(data / name, tmp_path / name)
    return tmp_path


def hide_a_class(folders: Path) -> None:
    """Puts a copy of an image where an editor puts it, in both splits."""
    for split in ("train", "val"):
        (folders / split / HIDDEN).mkdir()
        shutil.copy(folders / split / "a" / "00.png", folders / split / HIDDEN)


def unlabelled(folders: Path) -> dict[str, Any]:
    return {"data_dir": folders, "train_dir": "flat", "val_dir": None, "no_labels": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "labels"),
    [
        ("spawn", False),
        ("forkserver", True),
        pytest.param("spawn", True, marks=pytest.mark.trial),
        pytest.param("forkserver", False, marks=pytest.mark.trial),
    ],
)
def test_the_workers_of_a_pretraining_may_be_spawned(
    start: str, labels: bool, host: ModuleType, flags: Flags, folders: Path
) -> None:
    from solo_rekd.hosts.classic.loaders import pretrain_loader

    changes = {"data_dir": folders} if labels else unlabelled(folders)
    dataset = pretrain_loader(
        host.parse_pretrain(flags("pretrain", method="rekd", **changes))
    ).dataset
    loader = DataLoader(dataset, 8, num_workers=1, multiprocessing_context=start)
    indexes, crops, classes = next(iter(loader))
    assert indexes.tolist() == list(range(8))
    assert [crop.shape for crop in crops] == [(8, 3, 32, 32)] * 2
    assert set(classes.tolist()) == ({0} if labels else {-1})


def test_hidden_folders_are_no_classes(
    host: ModuleType, flags: Flags, folders: Path, moco: dict[str, Any]
) -> None:
    hide_a_class(folders)
    args = host.parse_pretrain(flags("pretrain", method="rekd", data_dir=folders))
    assert args.num_classes == 3
    evaluation = {
        "data_dir": folders,
        "encoder": "resnet18",
        "pretrained_feature_extractor": moco["checkpoint"],
    }
    splits = judge(flags("knn", **evaluation)).splits
    assert [split.classes for split in splits.values()] == [["a", "b", "c"]] * 2
    assert [len(split.labels) for split in splits.values()] == [48, 24]
    host.linear(flags("linear", **evaluation))


def test_files_are_no_classes(host: ModuleType, flags: Flags, folders: Path) -> None:
    (folders / "train" / "list.txt").touch()
    args = host.parse_pretrain(flags("pretrain", method="simclr", data_dir=folders))
    assert args.num_classes == 3


@pytest.mark.parametrize("labels", [True, False])
def test_what_is_left_out_is_said_once(
    labels: bool,
    host: ModuleType,
    flags: Flags,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(files, "_reported", set())
    caplog.set_level(logging.WARNING, "solo_rekd")
    for place in ("train/a", "flat"):
        Image.new("RGB", (32, 32)).save(folders / place / "more.gif")
        (folders / place / ".DS_Store").touch()
    changes = {"data_dir": folders} if labels else unlabelled(folders)
    host.pretrain(flags("pretrain", method="rekd", limit_train_batches=6, **changes))
    (message,) = (text for text in caplog.messages if "left out" in text)
    for fragment in ("train" if labels else "flat", "2 of 50", "1 .gif", "1 hidden", ".jpeg"):
        assert fragment in message


@pytest.mark.parametrize("job", ["pretrain", "linear", "knn"])
def test_deep_images_are_refused_by_every_job(
    job: str, host: ModuleType, flags: Flags, folders: Path, moco: dict[str, Any]
) -> None:
    deep = np.full((32, 32), 30_000, np.uint16)
    for path in folders.glob("*/*/*.png"):
        Image.fromarray(deep).save(path)
    changes: dict[str, Any] = {"method": "rekd"}
    if job != "pretrain":
        changes = {
            "encoder": "resnet18",
            "pretrained_feature_extractor": moco["checkpoint"],
        }
    argv = flags(job, data_dir=folders, **changes)
    with pytest.raises(UserError, match=r"00\.png has .* pixels: .* 8 bits"):
        (judge if job == "knn" else getattr(host, job))(argv)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_an_augmentation_keeps_its_traceback(
    workers: int, host: ModuleType, flags: Flags, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo.utils.pretrain_dataloader import NCropAugmentation

    def faulty_augmentation(self: Any, image: Image.Image) -> Any:
        raise ValueError("a fault of the augmentation")

    monkeypatch.setattr(NCropAugmentation, "__call__", faulty_augmentation)
    for changes in ({}, unlabelled(data)):
        argv = flags("pretrain", method="rekd", num_workers=workers, **changes)
        with pytest.raises(ValueError, match="a fault of the augmentation") as caught:
            host.pretrain(argv)
        assert "faulty_augmentation" in "".join(traceback.format_exception(caught.value))


def test_a_missing_image_is_not_called_damaged(
    host: ModuleType, flags: Flags, folders: Path
) -> None:
    (folders / "train" / "b" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        host.pretrain(flags("pretrain", method="rekd", data_dir=folders))


def test_another_run_has_the_hosts_own_data_sets(host: ModuleType) -> None:
    from solo.utils import classification_dataloader, pretrain_dataloader
    from torchvision.datasets import ImageFolder, folder

    from solo_rekd.hosts.shared import data_sets
    from solo_rekd.hosts.shared.changes import begin
    from solo_rekd.images.sets import ClassFolders

    modules = pretrain_dataloader, classification_dataloader
    for ours in (True, False, True, False):
        begin(ours)
        if ours:
            data_sets.choose(*modules)
        assert {module.ImageFolder for module in modules} == {ClassFolders if ours else ImageFolder}
        flat = pretrain_dataloader.CustomDatasetWithoutLabels
        assert (
            flat.__module__ == "solo_rekd.images.photos.data_set"
            if ours
            else "solo.utils.pretrain_dataloader"
        )
    assert folder.pil_loader.__module__ == "torchvision.datasets.folder"
    assert not hasattr(folder.pil_loader, "__wrapped__")


def test_order_and_pixels_are_the_hosts(host: ModuleType, flags: Flags, data: Path) -> None:
    """With the host's data sets and with ours the same images give the same batches."""
    from solo.utils import classification_dataloader, pretrain_dataloader

    from solo_rekd.hosts.classic.loaders import pretrain_loader
    from solo_rekd.hosts.shared import data_sets
    from solo_rekd.hosts.shared.changes import begin

    args = host.parse_pretrain(flags("pretrain", method="rekd"))
    seen = []
    for ours in (False, True):
        begin(ours)
        if ours:
            data_sets.choose(pretrain_dataloader, classification_dataloader)
        torch.manual_seed(0)
        seen.append([[batch[0], *batch[1], batch[2]] for batch in pretrain_loader(args)])
    for theirs, mine in zip(*seen, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(theirs, mine, strict=True))
