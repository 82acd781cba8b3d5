"""BINGO in the current host: in its scripts, unmodified, and with each of its loaders."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from lightning.pytorch import Trainer
from solo.args.pretrain import parse_cfg
from solo.data.pretrain_dataloader import (
    FullTransformPipeline,
    NCropAugmentation,
    build_transform_pipeline,
    prepare_dataloader,
    prepare_datasets,
)
from solo.methods import METHODS

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector
from solo_rekd.utils.errors import UserError

Script = Callable[..., str]
Arguments = Callable[..., list[str]]

# two views that are the image itself
PLAIN = {
    "augmentations.0.rrc.enabled": False,
    **{
        f"augmentations.0.{name}.prob": 0
        for name in ("color_jitter", "grayscale", "gaussian_blur", "horizontal_flip")
    },
}
DALI = {"data.format": "dali"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 as the host saves one, untrained."""
    torch.manual_seed(0)
    parts = {
        "backbone": build_backbone("resnet18", 32),
        "projector": two_layer_projector(512, 16, 8),
        "classifier": torch.nn.Linear(512, 3),
    }
    state = {
        f"{part}.{name}": tensor
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp("teacher") / "teacher.ckpt"
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture
def settings(teacher: Path, tmp_path: Path) -> dict[str, Any]:
    """A frozen teacher and bags of three in `tmp_path / "bags"`."""
    return {
        "method_kwargs.teacher": "resnet18",
        "method_kwargs.teacher_checkpoint": teacher,
        "method_kwargs.bag_size": 3,
        "method_kwargs.teacher_cache": tmp_path / "bags",
    }


def saved(folder: Path) -> Path:
    (checkpoint,) = folder.glob("trained_models/bingo/*/*.ckpt")
    return checkpoint


def test_two_epochs_the_cache_and_resuming(
    run_script: Script, arguments: Arguments, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"scheduler.name": "none"}  # a cosine would keep its length
    shown = run_script("main_pretrain.py", *arguments("bingo", **settings, max_epochs=2))
    assert "bags of 3 kept in" in shown
    assert "teacher's features: 100%" in shown
    first = torch.load(saved(tmp_path), weights_only=True)
    assert first["solo_rekd"]["method"] == "bingo"
    assert all(tensor.isfinite().all() for tensor in first["state_dict"].values())
    assert not [name for name in first["state_dict"] if "bags" in name]

    changes = {"+resume_from_checkpoint": f"'{saved(tmp_path)}'", "max_epochs": 3}
    changes |= {"checkpoint.dir": tmp_path / "resumed"}
    shown = run_script("main_pretrain.py", *arguments("bingo", **settings, **changes))
    assert "bags of 3 among 48 images from" in shown
    assert "teacher's features" not in shown
    (checkpoint,) = tmp_path.glob("resumed/bingo/*/*.ckpt")
    resumed = torch.load(checkpoint, weights_only=True)
    assert (resumed["epoch"], resumed["global_step"]) == (2, 18)


@pytest.mark.trial
def test_two_processes(
    run_script: Script, arguments: Arguments, settings: dict[str, Any], tmp_path: Path
) -> None:
    two = {"devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    shown = run_script("main_pretrain.py", *arguments("bingo", **settings, **two))
    assert shown.count("bags of 3 kept in") == 1
    assert len(list((tmp_path / "bags").iterdir())) == 1
    state = torch.load(saved(tmp_path), weights_only=True)["state_dict"]
    assert int(state["objective.queues.0.seen"]) == 48


def fit(cfg: Any) -> Any:
    """Trains one epoch with the host's loaders as `main_pretrain.py` does; returns the method."""
    cfg = parse_cfg(cfg)
    model = METHODS[cfg.method](cfg)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    build: Any = build_transform_pipeline
    if cfg.data.format == "dali":
        from solo.data import dali_dataloader

        build = functools.partial(dali_dataloader.build_transform_pipeline_dali, dali_device="cpu")
    views = [NCropAugmentation(build(cfg.data.dataset, view), 2) for view in cfg.augmentations]
    if cfg.data.format == "dali":
        module = dali_dataloader.PretrainDALIDataModule(
            dataset=cfg.data.dataset,
            train_data_path=cfg.data.train_path,
            transforms=FullTransformPipeline(views),
            num_large_crops=2,
            num_small_crops=0,
            num_workers=0,
            batch_size=cfg.optimizer.batch_size,
            no_labels=cfg.data.no_labels,
            data_fraction=cfg.data.fraction,
            dali_device="cpu",
            encode_indexes_into_labels=cfg.dali.encode_indexes_into_labels,
        )
        trainer.fit(model, datamodule=module)
        return model
    images = prepare_datasets(
        cfg.data.dataset,
        FullTransformPipeline(views),
        train_data_path=cfg.data.train_path,
        no_labels=cfg.data.no_labels,
        data_fraction=cfg.data.fraction,
    )
    trainer.fit(model, prepare_dataloader(images, cfg.optimizer.batch_size, num_workers=0))
    return model


@pytest.mark.parametrize("flat", [False, True], ids=["classes", "flat"])
@pytest.mark.parametrize("dali", [False, True], ids=["torchvision", "dali"])
def test_every_image_meets_its_own_embedding(
    flat: bool,
    dali: bool,
    compose: Callable[..., Any],
    settings: dict[str, Any],
    data: Path,
    tmp_path: Path,
) -> None:
    if dali:
        pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")
        settings |= DALI
    folder = {"data.train_path": data / "flat", "data.no_labels": True} if flat else {}
    changes = settings | PLAIN | folder | {"data.val_path": "null"}
    model = fit(compose("bingo", **changes))
    metrics = model.trainer.callback_metrics
    assert float(metrics["train_own_similarity_epoch"]) == pytest.approx(1, abs=1e-5)
    assert float(metrics["train_bag_similarity_epoch"]) < 1 - 1e-5
    (path,) = (tmp_path / "bags").iterdir()
    kept = load_file(path)
    assert torch.equal(kept["members"].long(), model.objective.bags.members)
    assert kept["members"].shape == (48, 3)
    assert (kept["members"] != torch.arange(48)[:, None]).all()


@pytest.mark.parametrize("dali", [False, True], ids=["torchvision", "dali"])
def test_a_share_of_the_data(
    dali: bool, compose: Callable[..., Any], settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="the host takes a share of the data by scikit-learn")
    changes = settings | PLAIN | {"data.val_path": "null", "+data.fraction": 0.5}
    if dali:
        pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")
        copy = tmp_path / "train"  # with a file that is no image
        shutil.copytree(data / "train", copy)
        (copy / "a" / "notes.txt").write_text("no image")
        changes |= DALI | {"data.train_path": copy}
    model = fit(compose("bingo", **changes))
    assert model.objective.bags.members.shape == (24, 3)
    own = model.trainer.callback_metrics["train_own_similarity_epoch"]
    assert float(own) == pytest.approx(1, abs=1e-5)


def test_cifar_arrays(
    compose: Callable[..., Any],
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host's CIFAR-10 with pixels of our own, for its files are not here."""
    import numpy as np
    from torchvision.datasets import CIFAR10

    def init(self: Any, root: Any, transform: Any, **kwargs: Any) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)).astype("uint8")
        self.data, self.targets = pixels.transpose(0, 2, 3, 1), [0] * 40
        self.transform, self.target_transform = transform, None

    monkeypatch.setattr(CIFAR10, "__init__", init)
    changes = settings | PLAIN | {"data.val_path": "null", "data.dataset": "cifar10"}
    model = fit(compose("bingo", **changes))
    own = model.trainer.callback_metrics["train_own_similarity_epoch"]
    assert float(own) == pytest.approx(1, abs=1e-5)
    units = model.objective.bags.embeddings
    torch.testing.assert_close(units, normalize(units, dim=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"method_kwargs.teacher_mode": "online"},
            "teacher_mode='online' .* the bags are found",
            marks=pytest.mark.trial,
        ),
        ({"method_kwargs.teacher_checkpoint": "null"}, "bingo needs teacher_checkpoint=PATH"),
        pytest.param(
            {"method_kwargs.bag_sise": 3},
            "method_kwargs.bag_sise=3 .* expected bag_size, or",
            marks=pytest.mark.trial,
        ),
    ],
)
def test_a_mistake_is_refused(
    change: dict[str, Any],
    message: str,
    pretraining: Callable[..., Any],
    settings: dict[str, Any],
) -> None:
    with pytest.raises(UserError, match=message):
        pretraining("bingo", **settings | change)
