"""The current host's DALI loading on the CPU, beside the same without DALI."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")
pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")

from solo.args.pretrain import parse_cfg
from solo.data import dali_dataloader
from solo.data.classification_dataloader import prepare_data
from solo.data.pretrain_dataloader import FullTransformPipeline, NCropAugmentation

from solo_rekd.hosts.current_evaluation import evaluate_at

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


def test_evaluation_images_are_those_of_torchvision(data: Path) -> None:
    evaluate_at("custom", {"crop_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}, {})
    _, plain = prepare_data("custom", data / "train", data / "val", batch_size=8, num_workers=0)
    module = dali_dataloader.ClassificationDALIDataModule(
        "custom", data / "train", data / "val", batch_size=8, num_workers=0, dali_device="cpu"
    )
    module.trainer = ONE_PROCESS
    module.setup()
    for (images, labels), (expected, expected_labels) in zip(
        module.val_dataloader(), plain, strict=True
    ):
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
        assert torch.equal(labels, expected_labels)
    images, labels = next(iter(module.train_dataloader()))
    assert (images.shape, labels.dtype) == ((8, 3, 32, 32), torch.int64)
