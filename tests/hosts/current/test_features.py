"""What the current host's `main_knn.py` and `main_umap.py` judge: all images, and whole weights."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import OmegaConf
from solo.args import umap
from solo.data import classification_dataloader
from solo.methods import METHODS
from torch.utils.data import TensorDataset

from solo_rekd.hosts.current.features import judge_whole
from solo_rekd.hosts.shared.changes import begin
from solo_rekd.utils.errors import UserError

Build = Callable[..., Any]


@pytest.fixture
def judge() -> Iterator[Callable[[Any], None]]:
    """`judge_whole`, undone after the test."""
    begin(True)
    yield judge_whole
    begin(False)


def save(model: Any, folder: Path) -> Path:
    """Writes what a run of the host leaves in its folder; returns the checkpoint."""
    folder.mkdir(exist_ok=True)
    checkpoint = {"state_dict": model.state_dict()}
    if hasattr(model, "objective"):
        model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "last.ckpt")
    (folder / "args.json").write_text(json.dumps(OmegaConf.to_container(model.cfg)))
    return folder / "last.ckpt"


def load(judge: Callable[[Any], None], path: Path, cfg: Any) -> Any:
    """Loads a checkpoint as the scripts do."""
    judge(cfg)
    return METHODS[cfg.method].load_from_checkpoint(path, strict=False, cfg=cfg)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_training_image_in_order(
    in_order: bool, batch_size: int, pretraining: Build, judge: Callable[[Any], None]
) -> None:
    split = TensorDataset(torch.arange(50))
    if in_order:
        judge(pretraining("rekd").cfg)
    train, val = classification_dataloader.prepare_dataloaders(
        split, split, batch_size=batch_size, num_workers=0
    )
    seen = [int(image) for (batch,) in train for image in batch]
    assert (seen == list(range(50))) == in_order
    assert sum(len(batch) for (batch,) in val) == 50


@pytest.mark.parametrize("method", ["rekd", "mocov2plus"])
def test_whole_weights_are_loaded(
    method: str, pretraining: Build, judge: Callable[[Any], None], tmp_path: Path
) -> None:
    model = pretraining(method)
    found = load(judge, save(model, tmp_path), model.cfg)
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"backbone.name": "resnet18"}, "does not fit rekd with alexnet, which args.json .* missi"),
        ({"crop_size": 96}, r"backbone.features.0.weight is 64x3x11x11 instead of 64x3x3x3"),
        ({"method": "mocov2plus"}, "is from a method of the host, but this run is rekd"),
    ],
)
def test_weights_of_another_run_are_refused_and_named(
    other: dict[str, Any],
    message: str,
    pretraining: Build,
    judge: Callable[[Any], None],
    tmp_path: Path,
) -> None:
    path = save(pretraining(other.pop("method", "rekd"), **other), tmp_path)
    with pytest.raises(UserError, match=rf"^{path}: .*{message}"):
        load(judge, path, pretraining("rekd").cfg)


def test_a_twin_is_not_the_student(
    pretraining: Build, judge: Callable[[Any], None], tmp_path: Path
) -> None:
    model = pretraining("rekd")
    path = save(model, tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    for name in [name for name in checkpoint["state_dict"] if name.startswith("backbone.")]:
        del checkpoint["state_dict"][name]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"last.ckpt: .* backbone.features.0.weight is missing"):
        load(judge, path, model.cfg)


def test_umap_is_of_whole_weights_at_the_size_of_training(
    pretraining: Build,
    judge: Callable[[Any], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = METHODS["rekd"]
    save(pretraining("rekd"), tmp_path)
    argv = ["--dataset", "custom", "--train_data_path", "x", "--val_data_path", "y"]
    argv += ["--pretrained_checkpoint_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["main_umap.py", *argv])
    umap.parse_args_umap()
    assert METHODS["rekd"] is not before
    _, transform = classification_dataloader.prepare_transforms("custom")
    assert transform(Image.new("RGB", (40, 60))).shape == (3, 32, 32)


@pytest.fixture
def another_order(data: Path, tmp_path: Path) -> Iterator[Path]:
    """The training images under names that sort the other way round within each class."""
    for path in sorted((data / "train").glob("*/*.png")):
        (tmp_path / "turned" / path.parent.name).mkdir(parents=True, exist_ok=True)
        name = f"{99 - int(path.stem):02d}.png"
        (tmp_path / "turned" / path.parent.name / name).symlink_to(path)
    yield tmp_path / "turned"


@pytest.mark.trial
def test_the_figure_depends_on_neither_batch_nor_workers_nor_order(
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    data: Path,
    another_order: Path,
    tmp_path: Path,
) -> None:
    run_script("main_pretrain.py", *arguments("rekd"))
    (checkpoint,) = tmp_path.glob("trained_models/rekd/*/*.ckpt")
    figures = []
    for train, batch, workers in [
        (data / "train", 1, 0),
        (data / "train", 7, 2),
        (data / "train", 64, 0),  # more than there are images: the host would judge by none
        (another_order, 7, 0),
    ]:
        argv = ["--dataset", "custom", "--train_data_path", str(train)]
        argv += ["--val_data_path", str(data / "val"), "--k", "5"]
        argv += ["--pretrained_checkpoint_dir", str(checkpoint.parent)]
        argv += ["--batch_size", str(batch), "--num_workers", str(workers)]
        figures += re.findall(r"Result: (.*)", run_script("main_knn.py", *argv))
    assert len(figures) == 4 and len(set(figures)) == 1
