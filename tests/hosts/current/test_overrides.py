"""A job as override words for main's scripts, value by value; Hydra alone reads them."""

import dataclasses
from typing import Any

import pytest

from solo_rekd.hosts.current.overrides import (
    NEVER,
    Surroundings,
    host_settings,
    settings_of,
    to_word,
    words_of,
)
from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
)
from solo_rekd.utils.errors import UserError

RECIPE = {
    "rrc": {"enabled": True, "crop_min_scale": 0.2, "crop_max_scale": 1.0},
    "color_jitter": {
        "prob": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
    },
    "grayscale": {"prob": 0.2},
    "gaussian_blur": {"prob": 0.5},
    "solarization": {"prob": 0.0},
    "equalization": {"prob": 0.0},
    "horizontal_flip": {"prob": 0.5},
    "crop_size": 224,
    "num_crops": 2,
}
AROUND = Surroundings(view=RECIPE, method={}, trainer=("devices", "precision", "accelerator"))
SGD = Optimizer("sgd", lr=0.3)
PRETRAINING = Pretraining(
    "mocov2plus", Network("alexnet"), Images("T", "V"), (View(),), SGD, batch_size=64, epochs=3
)
LINEAR = LinearEvaluation(
    "a-ep=2.ckpt", Network("alexnet"), Images("T", "V"), Optimizer("sgd", 0.3), 64, 5
)


def change(job: Any, part: str, **values: Any) -> Any:
    return dataclasses.replace(
        job, **{part: dataclasses.replace(getattr(job, part), **values)} if part else values
    )


def settings(job: Any, **around: Any) -> dict[str, Any]:
    return settings_of(job, AROUND._replace(**around))


@pytest.mark.parametrize(
    ("part", "field", "value", "key", "expected"),
    [
        ("", "method", "byol", "method", "byol"),
        ("", "method", "byol", "name", "byol"),
        ("", "batch_size", 32, "optimizer.batch_size", 32),
        ("", "epochs", 7, "max_epochs", 7),
        ("", "seed", 9, "seed", 9),
        ("", "settings", {"queue_size": 64}, "method_kwargs.queue_size", 64),
        ("", "settings", {"base_tau_momentum": 0.9}, "momentum.base_tau", 0.9),
        ("", "settings", {"final_tau_momentum": 1}, "momentum.final_tau", 1),
        ("", "settings", {"momentum_classifier": True}, "momentum.classifier", True),
        ("network", "name", "resnet18", "backbone.name", "resnet18"),
        ("images", "train", "A", "data.train_path", "A"),
        ("images", "val", None, "data.val_path", None),
        ("images", "size", 32, "crop_size", 32),
        ("images", "size", 32, "data.augmentations.crop_size", 32),
        ("images", "mean", (0.1, 0.2, 0.3), "data.augmentations.mean", [0.1, 0.2, 0.3]),
        ("images", "std", (0.1, 0.2, 0.3), "data.augmentations.std", [0.1, 0.2, 0.3]),
        ("images", "dataset", "imagenet", "data.dataset", "imagenet"),
        ("images", "labelled", False, "data.no_labels", True),
        ("images", "workers", 2, "data.num_workers", 2),
        ("optimizer", "name", "lars", "optimizer.name", "lars"),
        ("optimizer", "weight_decay", 0.1, "optimizer.weight_decay", 0.1),
        ("optimizer", "schedule", "step", "scheduler.name", "step"),
        ("optimizer", "schedule", "cosine", "scheduler.name", "warmup_cosine"),
        ("optimizer", "warmup_epochs", 4, "scheduler.warmup_epochs", 4),
        ("optimizer", "warmup_start_lr", 0.01, "scheduler.warmup_start_lr", 0.01),
        ("optimizer", "min_lr", 0.001, "scheduler.min_lr", 0.001),
        ("optimizer", "decay_epochs", (2, 3), "scheduler.lr_decay_steps", [2, 3]),
    ],
)
def test_every_field_of_a_pretraining(
    part: str, field: str, value: Any, key: str, expected: Any
) -> None:
    assert settings(change(PRETRAINING, part, **{field: value}))[key] == expected


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("crops", 3, "num_crops"),
        ("size", 48, "crop_size"),
        ("min_scale", 0.1, "rrc.crop_min_scale"),
        ("max_scale", 0.9, "rrc.crop_max_scale"),
        ("jitter", 0.7, "color_jitter.prob"),
        ("brightness", 0.1, "color_jitter.brightness"),
        ("contrast", 0.1, "color_jitter.contrast"),
        ("saturation", 0.1, "color_jitter.saturation"),
        ("hue", 0.2, "color_jitter.hue"),
        ("grayscale", 0.3, "grayscale.prob"),
        ("blur", 0.3, "gaussian_blur.prob"),
        ("solarization", 0.3, "solarization.prob"),
        ("flip", 0.3, "horizontal_flip.prob"),
        ("blur", 0, "gaussian_blur.prob"),
        ("grayscale", 0, "grayscale.prob"),
    ],
)
def test_every_field_of_a_view(field: str, value: Any, key: str) -> None:
    (view,) = settings(dataclasses.replace(PRETRAINING, views=(View(**{field: value}),)))[
        "augmentations"
    ]
    group, _, inner = key.rpartition(".")
    assert (view[group] if group else view)[inner] == (value or NEVER)


def test_a_view_is_the_recipes_where_the_job_says_nothing() -> None:
    job = change(PRETRAINING, "images", size=32, mean=(0.5, 0.5, 0.5))
    (view,) = settings(job)["augmentations"]
    assert view == RECIPE | {
        "crop_size": 32,
        "mean": [0.5, 0.5, 0.5],
        # a step that never happens draws its number all the same, as in the classic host
        "solarization": {"prob": NEVER},
    }


def test_crops_of_two_kinds_are_two_views() -> None:
    job = dataclasses.replace(PRETRAINING, views=(View(1, blur=1.0), View(1, solarization=0.2)))
    first, second = settings(job)["augmentations"]
    assert (first["gaussian_blur"], second["gaussian_blur"]) == ({"prob": 1.0}, {"prob": 0.5})
    assert (first["num_crops"], second["solarization"]) == (1, {"prob": 0.2})


@pytest.mark.parametrize(
    ("changes", "val", "processes", "lr", "classifier"),
    [
        ({}, "V", 1, 1.2, 0.4),
        ({"batch_size": 256}, "V", 1, 0.3, 0.1),
        ({}, "V", 2, 0.6, 0.2),
        ({}, None, 1, 1.2, 0.1),
        ({"batch_size": 48}, "V", 1, 1.6, 0.533333333333),
        ({"host": {"accumulate_grad_batches": 2}}, "V", 1, 0.6, 0.2),
        ({"host": {"accumulate_grad_batches": 2}}, None, 1, 0.6, 0.05),
    ],
)
def test_what_the_host_multiplies_rates_by_is_undone(
    changes: dict[str, Any], val: str | None, processes: int, lr: float, classifier: float
) -> None:
    job = dataclasses.replace(PRETRAINING, classifier_lr=0.1, **changes)
    given = settings(
        change(job, "images", val=val),
        processes=processes,
        trainer=("accumulate_grad_batches",),
    )
    assert (given["optimizer.lr"], given["optimizer.classifier_lr"]) == (lr, classifier)


def test_accumulated_batches_scale_the_ends_of_a_schedule_too() -> None:
    job = change(PRETRAINING, "optimizer", min_lr=0.01, warmup_start_lr=0.02)
    job = dataclasses.replace(job, host={"accumulate_grad_batches": 2})
    given = settings(job, trainer=("accumulate_grad_batches",))
    assert (given["scheduler.min_lr"], given["scheduler.warmup_start_lr"]) == (0.005, 0.01)


def test_every_field_of_a_linear_evaluation() -> None:
    job = change(LINEAR, "images", size=32, workers=1, mean=(0.1, 0.2, 0.3))
    job = change(job, "optimizer", weight_decay=0, schedule="cosine")
    assert settings(job, trained_by="mae", kwargs={"stem": "small"}) == {
        "pretrained_feature_extractor": "a-ep=2.ckpt",
        "pretrain_method": "mae",
        "seed": 5,
        "data.train_path": "T",
        "data.val_path": "V",
        "data.dataset": "custom",
        "data.num_workers": 1,
        "data.augmentations.crop_size": 32,
        "data.augmentations.mean": [0.1, 0.2, 0.3],
        "backbone.name": "alexnet",
        "backbone.kwargs.stem": "small",
        "optimizer.name": "sgd",
        "optimizer.lr": 1.2,
        "optimizer.batch_size": 64,
        "optimizer.weight_decay": 0,
        "scheduler.name": "warmup_cosine",
        "scheduler.warmup_epochs": 0,
        "scheduler.interval": "epoch",
        "max_epochs": 5,
    }


def test_accumulated_batches_leave_the_rate_of_a_linear_evaluation() -> None:
    job = dataclasses.replace(LINEAR, host={"accumulate_grad_batches": 2})
    assert settings(job, trainer=("accumulate_grad_batches",))["optimizer.lr"] == 1.2


def test_the_hosts_recipe_stands_under_the_job() -> None:
    method = {"method_kwargs.temperature": 0.2, "method_kwargs.queue_size": 65536}
    job = dataclasses.replace(PRETRAINING, settings={"queue_size": 64})
    given = settings(job, method=method)
    assert given["method_kwargs.temperature"] == 0.2
    assert given["method_kwargs.queue_size"] == 64


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"knn_eval": True}, {"knn_eval.enabled": True}),
        ({"project": "P"}, {"wandb.project": "P"}),
        ({"dali": True, "dali_device": "cpu"}, {"data.format": "dali", "dali.device": "cpu"}),
        ({"precision": 16}, {"precision": "16-mixed"}),
        ({"precision": "bf16"}, {"precision": "bf16-mixed"}),
        ({"precision": "32-true"}, {"precision": "32-true"}),
        ({"devices": 2}, {"devices": 2}),
        ({"optimizer.kwargs.eta": 0.02}, {"optimizer.kwargs.eta": 0.02}),
        ({"finetune": True}, {"finetune": True}),
    ],
)
def test_the_hosts_part_of_a_job(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert host_settings(given, AROUND.trainer) == expected


def test_a_name_that_is_none_of_the_hosts_is_refused_with_a_near_one() -> None:
    with pytest.raises(UserError, match=r"acelerator='cpu' .* accelerator"):
        host_settings({"acelerator": "cpu"}, AROUND.trainer)


VALUES = [
    *(None, True, False, 0, 3, -1, 0.3, 1e-12, "custom", "timm:resnet10t", "/data/a b", "a=b.ckpt"),
    *("it's", "back\\slash", "ends\\", "\\'", "null", "true", "12", "1e-3", "${crop_size}", ""),
    *("[0]", "a,b", "{x}", "größe", [1, 2], ["a b", None], [], {"a": {"b": [0.1, True]}}, {}),
]


@pytest.mark.parametrize("value", VALUES, ids=map(repr, VALUES))
def test_hydra_reads_every_value_back(value: Any) -> None:
    hydra = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    omegaconf = pytest.importorskip("omegaconf")
    (word,) = words_of({"a.b": value})
    assert word == f"++a.b={to_word(value)}"
    parsed = hydra.OverridesParser.create().parse_override(word).value()
    cfg = omegaconf.OmegaConf.create({"a": {}, "crop_size": 32})
    omegaconf.OmegaConf.update(cfg, "a.b", parsed, force_add=True)
    assert omegaconf.OmegaConf.to_container(cfg, resolve=True)["a"]["b"] == value


@pytest.mark.parametrize("job", [PRETRAINING, LINEAR])
def test_dali_is_a_switch_and_a_device(job: Any) -> None:
    assert not {"data.format", "dali.device"} & settings(job).keys()
    found = settings(change(job, "images", dali="gpu"))
    assert (found["data.format"], found["dali.device"]) == ("dali", "gpu")
