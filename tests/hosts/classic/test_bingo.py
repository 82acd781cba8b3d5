"""BINGO in the classic host: the bags are found on the host's own training set, and kept."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as transforms

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.hosts.shared.training_images import normalisation
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
# two views that are the image itself
PLAIN = {
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "hue": 0,
    "gray_scale_prob": 0,
    "horizontal_flip_prob": 0,
    "min_scale": 1,
}
FLAT = {"train_dir": "flat", "val_dir": None, "no_labels": True}
Bingo = Callable[..., dict[str, Any]]

# `solo-rekd`, which counts the processes that find bags and keeps what each then has.
WITNESS = """
import torch
from solo_rekd import hosts
from solo_rekd.cli import main
from solo_rekd.objectives import bags

hosts.commands()
from solo.methods import METHODS

compute, computed = bags.compute_bags, []

def count(*args):
    computed.append(1)
    return compute(*args)

def save(self):
    found = self.objective.bags._asdict() | {"computed": len(computed)}
    found["own_similarity"] = self.trainer.callback_metrics["train_own_similarity_epoch"]
    torch.save(found, f"rank{self.global_rank}.pt")

bags.compute_bags = count
METHODS["bingo"].on_train_end = save
main()
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def bingo(train: Train, frozen_teacher: dict[str, Any], tmp_path: Path) -> Bingo:
    """A run of bingo that keeps its bags in `tmp_path / "bags"`."""

    def run(**changes: Any) -> dict[str, Any]:
        settings = {"bag_size": 3, "teacher_cache": tmp_path / "bags", "limit_val_batches": 0}
        return train("bingo", **frozen_teacher | settings | changes)

    return run


def state(run: dict[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run["checkpoint"], weights_only=True)["state_dict"]


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "bags").iterdir())


def nearest(files: list[str], teacher: dict[str, Any], size: int) -> tuple[Any, torch.Tensor]:
    """Bags and embeddings by torchvision and one matrix of similarities."""
    loaded = load_networks(teacher["teacher_checkpoint"], teacher["teacher"], img_size=32)
    images = [transforms.to_tensor(Image.open(file).convert("RGB")) for file in files]
    batch = (torch.stack(images) - 0.5) / 0.5
    with torch.no_grad():
        features = loaded.backbone.eval()(batch)
        embeddings = normalize(loaded.projector.eval()(features), dim=1)
    similarities = normalize(features, dim=1) @ normalize(features, dim=1).T
    return similarities.fill_diagonal_(-2).topk(size).indices, embeddings


def assert_bags(path: Path, files: list[str], teacher: dict[str, Any], size: int) -> None:
    found = load_file(path)
    members, embeddings = nearest(files, teacher, size)
    torch.testing.assert_close(found["embeddings"], embeddings, rtol=0, atol=1e-5)
    assert torch.equal(found["members"].long().sort(1).values, members.sort(1).values)


def test_two_epochs_and_a_second_run_from_the_cache(
    bingo: Bingo,
    data: Path,
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "solo_rekd")
    first = bingo(max_epochs=2)
    assert re.search(r"teacher's features: 100%.*\n", capfd.readouterr().err)
    assert "bags of 3 kept in" in caplog.text
    for name in ("intra_loss", "inter_loss", "own_similarity", "bag_similarity", "teacher_acc1"):
        assert torch.tensor(first["metrics"][f"train_{name}"]).isfinite(), name
    weights = state(first)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert not [name for name in weights if "bags" in name or "objective.teacher." in name]

    (path,) = kept(tmp_path)
    files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    assert_bags(path, files, frozen_teacher, size=3)
    written = path.stat().st_mtime_ns

    caplog.clear()
    second = bingo(max_epochs=2)
    assert "bags of 3 among 48 images from" in caplog.text
    assert "teacher's features" not in capfd.readouterr().err
    assert kept(tmp_path) == [path] and path.stat().st_mtime_ns == written
    # the cache changes nothing: the same numbers are drawn with it and without
    torch.testing.assert_close(state(second), weights, rtol=0, atol=0)


@pytest.mark.parametrize("folder", [{}, FLAT], ids=["classes", "flat"])
@pytest.mark.parametrize("dali", [None, True], ids=["torchvision", "dali"])
def test_every_image_meets_its_own_embedding(
    folder: dict[str, Any],
    dali: bool | None,
    bingo: Bingo,
    data: Path,
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
) -> None:
    if dali:
        pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")
    run = bingo(**PLAIN, **folder, dali=dali)
    own, bag = (run["metrics"][f"train_{name}_similarity"] for name in ("own", "bag"))
    assert own == pytest.approx(1, abs=1e-5)
    assert bag < 1 - 1e-3
    (path,) = kept(tmp_path)
    if folder:
        files = [str(data / "flat" / name) for name in sorted(os.listdir(data / "flat"))]
    else:
        files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    assert_bags(path, files, frozen_teacher, size=3)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "stl10", "imagenet", "custom"])
def test_images_are_normalised_as_in_training(dataset: str, host: ModuleType) -> None:
    from solo.utils import pretrain_dataloader

    jitter = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    each = pretrain_dataloader.prepare_transform(dataset, **jitter)
    found = normalisation(pretrain_dataloader.prepare_n_crop_transform([each], [2]))
    assert found is each.transform.transforms[-1]


def test_a_resumed_run_has_its_bags(bingo: Bingo, tmp_path: Path) -> None:
    first = bingo(limit_train_batches=2)
    resumed = bingo(max_epochs=2, limit_train_batches=2, resume_from_checkpoint=first["checkpoint"])
    checkpoint = torch.load(resumed["checkpoint"], weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 4)
    assert len(kept(tmp_path)) == 1


def test_a_mistake_is_refused(bingo: Bingo, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^teacher_mode='online' .* expected frozen: the bags are"):
        bingo(teacher_mode="online")
    with pytest.raises(UserError, match=r"^bingo needs teacher_checkpoint=PATH"):
        bingo(teacher_checkpoint=None)
    with pytest.raises(UserError, match=r"^bag_size=48 .* at most 47"):
        bingo(bag_size=48)
    with pytest.raises(UserError, match=r"^proj_output_dim=16 .* expected 8, the teacher's"):
        bingo(proj_output_dim=16)
    assert not (tmp_path / "bags").exists()


@pytest.mark.trial
def test_two_processes_have_the_same_bags(
    flags: Callable[..., list[str]],
    frozen_teacher: dict[str, Any],
    data: Path,
    tmp_path: Path,
    host: ModuleType,
) -> None:
    settings = {"devices": 2, "strategy": "ddp", "limit_val_batches": 0, "checkpoint_dir": tmp_path}
    settings |= {"bag_size": 3, "teacher_cache": tmp_path / "bags", "save_checkpoint": True} | PLAIN
    argv = flags("pretrain", method="bingo", **frozen_teacher | settings)
    script = tmp_path / "witness.py"
    script.write_text(WITNESS)
    done = subprocess.run(
        [sys.executable, script, "pretrain", *argv],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert (one["computed"], other["computed"]) == (1, 0)
    for name in ("members", "embeddings", "own_similarity"):
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-5)
    assert float(one["own_similarity"]) == pytest.approx(1, abs=1e-5)
    files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    assert_bags(kept(tmp_path)[0], files, frozen_teacher, size=3)
    (saved,) = tmp_path.glob("bingo/*/*.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] == 3
