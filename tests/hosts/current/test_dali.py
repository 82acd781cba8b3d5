"""The current host's DALI loading on the CPU, beside the same without DALI."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision.datasets import ImageFolder

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")
pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")

from solo.args.pretrain import parse_cfg
from solo.data import dali_dataloader
from solo.data.classification_dataloader import prepare_data
from solo.data.pretrain_dataloader import FullTransformPipeline, NCropAugmentation

from solo_rekd.hosts.current.evaluation import evaluate_at
from solo_rekd.utils.errors import UserError

Script = Callable[..., str]
Arguments = Callable[..., list[str]]

ONE_PROCESS = SimpleNamespace(local_rank=0, global_rank=0, world_size=1)


def pretraining_batches(cfg: Any) -> list[Any]:
    """One epoch of batches, built as `main_pretrain.py` does."""
    crops = [
        NCropAugmentation(
            dali_dataloader.build_transform_pipeline_dali(
                cfg.data.dataset, view, dali_device=cfg.dali.device
            ),
            view.num_crops,
        )
        for view in cfg.augmentations
    ]
    module = dali_dataloader.PretrainDALIDataModule(
        dataset=cfg.data.dataset,
        train_data_path=cfg.data.train_path,
        transforms=FullTransformPipeline(crops),
        num_large_crops=2,
        num_small_crops=0,
        num_workers=cfg.data.num_workers,
        batch_size=cfg.optimizer.batch_size,
        no_labels=cfg.data.no_labels,
        dali_device=cfg.dali.device,
    )
    module.trainer = ONE_PROCESS
    module.setup()
    return list(module.train_dataloader())


@pytest.mark.parametrize("labelled", [True, False])
def test_crops_for_pretraining(labelled: bool, compose: Callable[..., Any], data: Path) -> None:
    changes = {"data.train_path": data / ("train" if labelled else "flat")}
    changes |= {"data.no_labels": not labelled, "data.val_path": "null"}
    batches = pretraining_batches(parse_cfg(compose("rekd", **changes, **{"data.format": "dali"})))
    assert len(batches) == 6
    labels = torch.cat([batch[2] for batch in batches])
    assert sorted(labels.tolist()) == (sorted([0, 1, 2] * 16) if labelled else [-1] * 48)
    for _, (one, other), _ in batches:
        assert one.shape == other.shape == (8, 3, 32, 32)
        assert not torch.equal(one, other)


def test_two_seeds_crop_differently(compose: Callable[..., Any]) -> None:
    cfg = parse_cfg(compose("rekd", **{"data.format": "dali"}))
    seen = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        seen.append(pretraining_batches(cfg)[0][1][0])
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("encode", [False, True])
def test_batches_know_their_images(encode: bool, compose: Callable[..., Any], data: Path) -> None:
    changes = {"data.format": "dali", "+dali.encode_indexes_into_labels": encode}
    batches = pretraining_batches(parse_cfg(compose("rekd", **changes)))
    samples = ImageFolder(data / "train").samples
    assert sorted(int(index) for indexes, _, _ in batches for index in indexes) == list(range(48))
    for indexes, _, labels in batches:
        assert labels.tolist() == [samples[index][1] for index in indexes]


def test_too_few_images_for_a_batch_are_refused(compose: Callable[..., Any]) -> None:
    cfg = parse_cfg(compose("rekd", **{"data.format": "dali", "optimizer.batch_size": 49}))
    with pytest.raises(UserError, match=r"^optimizer.batch_size=49 .* expected at most 48, a pro"):
        pretraining_batches(cfg)


@pytest.mark.parametrize("batch_size", [8, 7])  # of 24 images
def test_evaluation_images_are_those_of_torchvision(batch_size: int, data: Path) -> None:
    evaluate_at("custom", {"crop_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}, {})
    train, val = data / "train", data / "val"
    _, plain = prepare_data("custom", train, val, batch_size=batch_size, num_workers=0)
    module = dali_dataloader.ClassificationDALIDataModule(
        "custom", train, val, batch_size=batch_size, num_workers=0, dali_device="cpu"
    )
    module.trainer = ONE_PROCESS
    module.setup()
    for (images, labels), (expected, expected_labels) in zip(
        module.val_dataloader(), plain, strict=True
    ):
        assert len(images) == len(expected)
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
        assert torch.equal(labels, expected_labels)
    images, labels = next(iter(module.train_dataloader()))
    assert (images.shape, labels.dtype) == ((batch_size, 3, 32, 32), torch.int64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("val", "labelled"),
    [
        (True, True),
        pytest.param(False, False, marks=pytest.mark.trial),
        pytest.param(True, False, marks=pytest.mark.trial),
        pytest.param(False, True, marks=pytest.mark.trial),
    ],
)
def test_trains_with_validation_images_or_without(
    labelled: bool, val: bool, run_script: Script, arguments: Arguments, data: Path, tmp_path: Path
) -> None:
    changes = {
        "data.format": "dali",
        "data.train_path": data / ("train" if labelled else "flat"),
        "data.no_labels": not labelled,
        "data.val_path": data / "val" if val else "null",
        "max_epochs": 2,
        "scheduler.name": "none",  # a cosine would keep its length
        "checkpoint.dir": tmp_path / "first",
    }
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), hook=val)
    assert "`Trainer.fit` stopped: `max_epochs=2` reached" in shown
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    changes |= {"max_epochs": 3, "+resume_from_checkpoint": f"'{checkpoint}'"}
    changes |= {"checkpoint.dir": tmp_path / "resumed"}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes))
    assert "`Trainer.fit` stopped: `max_epochs=3` reached" in shown


@pytest.mark.slow
def test_evaluates_and_names_a_damaged_image(
    run_script: Script, arguments: Arguments, data: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train"
    for name in "abc":
        shutil.copytree(data / "train" / name, train / name / "part")
    (train / "a" / "notes.txt").write_text("not an image\n")
    changes = {"data.format": "dali", "data.train_path": train}
    run_script(
        "main_pretrain.py", *arguments("rekd", **changes, **{"checkpoint.dir": tmp_path / "out"})
    )
    (checkpoint,) = (tmp_path / "out").rglob("*.ckpt")
    probe = changes | {"pretrained_feature_extractor": f"'{checkpoint}'"}
    assert "linear top-1" in run_script("main_linear.py", *arguments("linear", **probe))
    damaged = train / "b" / "part" / "07.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    written = sorted(tmp_path.rglob("*"))
    for script, recipe, settings in (
        ("main_pretrain.py", "rekd", changes),
        ("main_linear.py", "linear", probe),
    ):
        shown = run_script(script, *arguments(recipe, **settings), code=2)
        assert f"solo-rekd: error: {damaged} cannot be decoded" in shown
        assert "Traceback" not in shown
        assert sorted(tmp_path.rglob("*")) == written
