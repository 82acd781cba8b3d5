import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from solo_rekd.checkpoints.run_settings import read_student

CLASSIC = {
    "dataset": "custom",
    "encoder": "alexnet",
    "crop_size": [64],
    "stem": "imagenet",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.1],
}
CURRENT = {
    "data": {"dataset": "custom"},
    "backbone": {"name": "mobilenet_v3_small", "kwargs": {"img_size": 96}},
    "augmentations": [{"crop_size": 96, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}],
}


def read(folder: Path, run: Any) -> dict[str, Any]:
    (folder / "args.json").write_text(json.dumps(run))
    return read_student(folder / "moved-here.ckpt")


def test_classic_host(tmp_path: Path) -> None:
    known = {name: CLASSIC[name] for name in ("encoder", "stem", "mean", "std")}
    assert read(tmp_path, CLASSIC) == known | {"crop_size": 64}


def test_script_of_the_classic_host_tells_no_stem(tmp_path: Path) -> None:
    run = {name: value for name, value in CLASSIC.items() if name != "stem"}
    assert "stem" not in read(tmp_path, run)


def test_current_host(tmp_path: Path) -> None:
    assert read(tmp_path, CURRENT) == {
        "encoder": "mobilenet_v3_small",
        "crop_size": 96,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.1],
    }


@pytest.mark.parametrize(
    ("dataset", "kwargs", "stem"),
    [
        ("custom", {}, "imagenet"),
        ("cifar10", {}, "small"),
        ("custom", {"stem": "small"}, "small"),
        ("custom", None, "imagenet"),
    ],
)
def test_the_stem_of_a_resnet_that_the_current_host_built(
    dataset: str, kwargs: dict[str, str] | None, stem: str, tmp_path: Path
) -> None:
    backbone = {"name": "resnet18", "kwargs": kwargs}
    run = CURRENT | {"backbone": backbone, "data": CURRENT["data"] | {"dataset": dataset}}
    assert read(tmp_path, run)["stem"] == stem


def test_current_host_takes_imagenet_where_nothing_is_given(tmp_path: Path) -> None:
    read_back = read(tmp_path, CURRENT | {"augmentations": [{"crop_size": 96}]})
    assert read_back["mean"] == [0.485, 0.456, 0.406]
    assert read_back["std"] == [0.229, 0.224, 0.225]


def test_current_host_writes_references_unresolved(tmp_path: Path) -> None:
    run = CURRENT | {"crop_size": 48, "augmentations": [{"crop_size": "${crop_size}"}]}
    assert read(tmp_path, run)["crop_size"] == 48


@pytest.mark.parametrize(
    "run", [CLASSIC | {"dataset": "cifar10"}, CURRENT | {"data": {"dataset": "stl10"}}]
)
def test_colours_of_the_hosts_own_data_sets_are_not_told(run: Any, tmp_path: Path) -> None:
    assert {"mean", "std"}.isdisjoint(read(tmp_path, run))


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"encoder": "alexnet"},
        {"backbone": 3},
        {"augmentations": []},
        CURRENT | {"augmentations": [{"crop_size": "${gone}"}]},
    ],
)
def test_what_is_no_run_tells_nothing(run: Any, tmp_path: Path) -> None:
    assert read(tmp_path, run) == {}


def test_no_file_tells_nothing(tmp_path: Path) -> None:
    assert read_student(tmp_path) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": 3, "crop_size": "x", "dataset": []},
        {"backbone": "resnet18", "augmentations": [{"crop_size": 1}], "data": {"dataset": "x"}},
        {"backbone": {"name": "${nothing}"}, "augmentations": [{}], "data": {"dataset": "x"}},
        {"encoder": "resnet18", "crop_size": [1e999], "dataset": "custom"},
        {"encoder": "resnet18", "crop_size": [32], "dataset": "custom", "mean": 7},
    ],
)
def test_settings_of_any_form_tell_nothing(settings, tmp_path):
    (tmp_path / "args.json").write_text(json.dumps(settings))
    torch.save({}, path := tmp_path / "t.ckpt")
    assert read_student(path) == {}


def test_metadata_of_any_form_tell_nothing(tmp_path):
    noted = {"encoder": "alexnet", "crop_size": "32", "stem": "small", "mean": "[" * 100_000}
    save_file({"weight": torch.ones(1)}, path := tmp_path / "t.safetensors", noted)
    assert read_student(path) == {}
