import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command import command, judge

from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]


def read(run: dict[str, Any]) -> dict[str, Any]:
    return torch.load(run["checkpoint"], weights_only=True)


def images(run: dict[str, Any]) -> int:
    """How many images a run trained on."""
    return round(run["images_per_second"] * run["seconds"])


@pytest.fixture
def stopped(host: ModuleType, flags: Callable[..., list[str]], tmp_path: Path) -> dict[str, Any]:
    """The settings of a run of two epochs that was stopped in its second, in `tmp_path`."""
    settings = {
        "checkpoint_dir": tmp_path,
        "max_epochs": 2,
        "auto_resume": True,
        "limit_train_batches": 2,
        "limit_val_batches": 0,
    }

    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.pretrain(
            flags("pretrain", method="rekd", save_checkpoint=True, **settings), progress=stop
        )
    return settings


def test_auto_resume_continues_the_same_run(train: Train, stopped: dict[str, Any]) -> None:
    resumed = train("rekd", **stopped)
    assert (read(resumed)["epoch"], read(resumed)["global_step"]) == (1, 4)
    # as in a run of two epochs that was not stopped: written in the second
    assert read(resumed)["loops"]["fit_loop"]["epoch_progress"]["total"]["completed"] == 1
    assert images(resumed) == 16


def test_a_resumed_run_keeps_the_momentum_of_its_next_step(train: Train, tmp_path: Path) -> None:
    settings = {"limit_train_batches": 1, "max_epochs": 3, "checkpoint_dir": tmp_path}
    whole = train("mocov2plus", **settings)

    def resume(**more: Any) -> float:
        return train("mocov2plus", **settings | more)["metrics"]["tau"]

    (last,) = tmp_path.glob("mocov2plus/*/*-ep=2.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    # the last step's own comes before it
    assert checkpoint["solo_rekd"]["tau"] > whole["metrics"]["tau"]
    checkpoint["solo_rekd"]["tau"] = 0.5
    torch.save(checkpoint, tmp_path / "mine-ep=2.ckpt")
    again = {"max_epochs": 4, "scheduler": "none"}
    assert resume(resume_from_checkpoint=tmp_path / "mine-ep=2.ckpt", **again) == 0.5


OTHERS = (
    {"seed": 6},
    {"stem": "imagenet", "crop_size": 64},
    {"lr": 0.2},
    {"weight_decay": 0.1},
    {"min_scale": 0.9},
    {"gaussian_prob": 0.5},
    {"limit_train_batches": 3},
    {"gradient_clip_val": 1},
    {"train_dir": "two/train", "val_dir": "two/val"},
)


@pytest.mark.parametrize(
    "change",
    [
        {"dictionary": "student"},
        *(pytest.param(change, marks=pytest.mark.slow) for change in OTHERS),
    ],
    ids=lambda change: next(iter(change)),
)
def test_auto_resume_takes_no_run_that_differs(
    change: dict[str, Any], train: Train, stopped: dict[str, Any]
) -> None:
    settings = stopped | change
    assert images(train("rekd", **settings)) == 2 * 8 * settings["limit_train_batches"]


@pytest.mark.slow
def test_auto_resume_tells_images_apart_by_their_content(
    train: Train, stopped: dict[str, Any], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(data / "train", moved / "train")
    shutil.copytree(data / "val", moved / "val")
    (first, *_), (second, *_) = (sorted((moved / "train" / name).iterdir()) for name in "ab")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())  # the same names, other images
    assert images(train("rekd", **stopped, data_dir=moved)) == 32
    shutil.rmtree(stopped["checkpoint_dir"] / "rekd")
    train("rekd", **stopped)
    first.write_bytes(content)
    assert images(train("rekd", **stopped, data_dir=moved)) == 0  # finished, of the same images


def test_a_run_of_an_older_version_resumes_by_the_file_beside_its_checkpoint(
    train: Train, tmp_path: Path
) -> None:
    settings = {"checkpoint_dir": tmp_path, "auto_resume": True, "limit_train_batches": 1}
    path = Path(train("simclr", **settings)["checkpoint"])
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["solo_rekd"]
    torch.save(checkpoint, path)
    beside = path.with_name("args.json")
    recorded = json.loads(beside.read_text())
    del recorded["seed"], recorded["stem"], recorded["solo_rekd"]  # as the host's script has them
    beside.write_text(json.dumps(recorded))
    assert images(train("simclr", **settings)) == 0
    assert images(train("simclr", **settings, seed=6)) > 0


def test_resuming_with_a_setting_that_would_go_unheeded_is_refused(
    train: Train, online: dict[str, Any]
) -> None:
    again = {"resume_from_checkpoint": online["checkpoint"], "max_epochs": 2}
    with pytest.raises(UserError, match=r"lr=\S+ was \S+"):
        train("rekd", **again, lr=0.5)
    with pytest.raises(UserError, match="training images are different"):
        train("rekd", **again, train_dir="val")


def test_a_cosine_keeps_the_length_that_it_began_with(train: Train) -> None:
    cosine = {"scheduler": "warmup_cosine", "warmup_epochs": 0, "limit_train_batches": 1}
    first = train("simclr", **cosine)
    with pytest.raises(UserError, match="max_epochs=2 was 1"):
        train("simclr", **cosine, max_epochs=2, resume_from_checkpoint=first["checkpoint"])


@pytest.mark.parametrize(("epochs", "frequency"), [(2, 2), (3, 5), (3, 2)])
def test_the_last_epoch_is_saved_whatever_the_interval(
    epochs: int, frequency: int, train: Train
) -> None:
    settings = {"max_epochs": epochs, "limit_train_batches": 1, "limit_val_batches": 0}
    run = train("simclr", **settings, checkpoint_frequency=frequency)
    assert run["checkpoint"].endswith(f"-ep={epochs - 1}.ckpt")
    assert read(run)["epoch"] == epochs - 1
    assert len(list(Path(run["checkpoint"]).parent.glob("*.ckpt"))) == 1


def test_a_run_that_its_steps_end_is_saved_too(train: Train) -> None:
    settings = {"max_epochs": 9, "max_steps": 2, "limit_train_batches": 1, "limit_val_batches": 0}
    run = train("simclr", **settings, checkpoint_frequency=5)
    assert run["checkpoint"].endswith("-ep=1.ckpt")


def test_a_checkpoint_tells_of_its_run(online: dict[str, Any]) -> None:
    settings = read(online)["solo_rekd"]["settings"]
    assert settings["encoder"] == "alexnet"
    assert settings["crop_size"] == [32]
    assert settings["mean"] == [0.5, 0.5, 0.5]
    assert settings["stem"] == "auto"
    assert settings["method"] == "rekd"
    assert settings["solo_rekd"]["images"]


def test_evaluation_needs_no_file_beside_a_checkpoint(
    host: ModuleType, flags: Callable[..., list[str]], online: dict[str, Any], tmp_path: Path
) -> None:
    moved = shutil.copy(online["checkpoint"], tmp_path / "mine.ckpt")
    own = {"crop_size": None, "mean": None, "std": None}
    found, expected = (
        judge(flags("knn", pretrained_feature_extractor=path, **sizes)).knn
        for path, sizes in ((moved, own), (online["checkpoint"], {}))
    )
    assert found == expected
    assert "32 px" in found["protocol"]


def test_an_exported_student_is_judged_as_it_was_trained(
    host: ModuleType, flags: Callable[..., list[str]], online: dict[str, Any], tmp_path: Path
) -> None:
    command("export", online["checkpoint"], target := tmp_path / "student.safetensors")
    own = {"crop_size": None, "mean": None, "std": None}
    found, expected = (
        judge(flags("knn", pretrained_feature_extractor=path, **sizes)).knn
        for path, sizes in ((target, own), (online["checkpoint"], {}))
    )
    assert found == expected


@pytest.mark.slow
def test_a_stem_that_was_chosen_in_training_is_taken_over(
    host: ModuleType, flags: Callable[..., list[str]], train: Train
) -> None:
    run = train("simclr", encoder="resnet18", stem="small", limit_train_batches=1)
    judged = {"pretrained_feature_extractor": run["checkpoint"], "encoder": "resnet18"}
    assert "32 px" in judge(flags("knn", **judged, crop_size=None)).knn["protocol"]
    with pytest.raises(UserError, match="stem='imagenet' is not allowed"):
        judge(flags("knn", **judged, stem="imagenet"))


def test_an_evaluation_that_nothing_tells_the_size_asks_for_it(
    host: ModuleType, flags: Callable[..., list[str]], online: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = read(online)
    del checkpoint["solo_rekd"]
    torch.save(checkpoint, tmp_path / "older.ckpt")
    older = {"pretrained_feature_extractor": tmp_path / "older.ckpt"}
    for job in (judge, host.linear):
        kind = "linear" if job is host.linear else "knn"
        with pytest.raises(UserError, match="--crop_size is missing"):
            job(flags(kind, **older, crop_size=None))
    assert "32 px" in judge(flags("knn", **older)).knn["protocol"]
