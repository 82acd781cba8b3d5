"""The online kNN of the current host's runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from solo_rekd.evaluation.knn import weighted_knn

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from lightning.pytorch import Trainer
from solo.data.classification_dataloader import prepare_data
from solo.data.pretrain_dataloader import (
    FullTransformPipeline,
    NCropAugmentation,
    build_transform_pipeline,
    prepare_dataloader,
    prepare_datasets,
)
from solo.methods import base
from solo.utils.knn import WeightedKNNClassifier

from solo_rekd.hosts.shared.knn_metric import HostKnn

Build = Callable[..., Any]


@pytest.fixture
def fit(pretraining: Build, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Trains as `main_pretrain.py` does, two epochs of a method of the host on our backbone."""

    def run(changes: dict[str, Any], **trainer: Any) -> Any:
        model = pretraining("mocov2plus", **{"knn_eval.enabled": True} | changes)
        cfg = model.cfg
        pipeline = build_transform_pipeline("custom", cfg.augmentations[0])
        images = prepare_datasets(
            "custom",
            FullTransformPipeline([NCropAugmentation(pipeline, 2)]),
            train_data_path=data / "train",
        )
        _, validation = prepare_data(
            "custom", data / "train", data / "val", batch_size=8, num_workers=0
        )
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        given: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "devices": 1} | quiet
        # an entry point adds the plug-in's callbacks
        trained = Trainer(default_root_dir=tmp_path, **(given | trainer))
        trained.fit(model, prepare_dataloader(images, 8, 0), validation)
        return model

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many training and validation images each online kNN was asked about."""
    from solo_rekd.hosts.shared import online_knn

    numbers: list[tuple[int, int]] = []

    def record(train: Tensor, train_labels: Tensor, test: Tensor, *rest: Any) -> Any:
        numbers.append((len(train), len(test)))
        return weighted_knn(train, train_labels, test, *rest)

    monkeypatch.setattr(online_knn, "weighted_knn", record)
    return numbers


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, [(96, 24)] * 2),
        ({"limit_val_batches": 1}, [(96, 8)] * 2),  # of one class alone
        ({"check_val_every_n_epoch": 2}, [(96, 24)]),  # not the first epoch's
        ({"val_check_interval": 0.5}, [(48, 24), (96, 24)] * 2),  # the whole epoch so far
        ({"limit_val_batches": 0}, []),
        ({"fast_dev_run": True}, [(16, 8)]),
    ],
)
def test_it_is_asked_about_one_epochs_images_and_keeps_none(
    trainer: dict[str, Any],
    expected: list[tuple[int, int]],
    fit: Callable[..., Any],
    asked: list[tuple[int, int]],
) -> None:
    model = fit({}, **trainer)
    assert asked == expected
    assert not model.knn.train_features and not model.knn.test_features
    assert model.knn_eval == bool(expected)


def test_the_hosts_runs_keep_the_hosts(pretraining: Build) -> None:
    pretraining("mocov2plus")
    assert base.WeightedKNNClassifier is HostKnn
    pretraining("mocov2plus", **{"backbone.name": "resnet18", "knn_eval.enabled": False})
    assert base.WeightedKNNClassifier is WeightedKNNClassifier
