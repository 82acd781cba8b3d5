"""What a file's network was trained to see, by everything that may tell."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CURRENT_HOST, FORMATS
from solo_rekd.checkpoints.preprocessing import Preprocessing, preprocessing_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5,) * 3, (0.5,) * 3)
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
MAIN_CIFAR10 = (CIFAR10[0], (0.247, 0.2435, 0.2616))
GREY = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLASSIC = {"encoder": "resnet18", "crop_size": [32], "dataset": "custom"}
CURRENT = {
    "backbone": {"name": "resnet18"},
    "augmentations": [{"crop_size": 32}],
    "data": {"dataset": "custom"},
}
PLAIN = FORMATS[-1].name
VIT = "timm:vit_tiny_patch16_224"


def seen(path: Path, name: str, format: str, raw: Any) -> tuple[Any, Any, int | None]:
    found = preprocessing_of(path, name, format, raw)
    assert (found.mean is None) == (found.std is None) == (found.source is None)
    return found.mean, found.std, found.size


def weights(name: str = "resnet18", stem: str = "imagenet") -> dict[str, torch.Tensor]:
    return dict(build_backbone(name, 64, stem).state_dict())


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("run", "format", "colours"),
    [
        (CLASSIC | {"mean": [0.1] * 3, "std": [0.2] * 3}, CLASSIC_HOST, ((0.1,) * 3, (0.2,) * 3)),
        (CLASSIC | {"dataset": "cifar100"}, CLASSIC_HOST, CIFAR10),
        (CURRENT | {"data": {"dataset": "cifar10"}}, CURRENT_HOST, MAIN_CIFAR10),
        (CURRENT | {"data": {"dataset": "imagenet"}}, CURRENT_HOST, IMAGENET),
    ],
)  # fmt: skip
def test_the_run_that_wrote_it(
    run: dict[str, Any], format: str, colours: Any, inside: bool, tmp_path: Path
) -> None:
    raw: dict[str, Any] = {"state_dict": weights()}
    if inside:
        raw["solo_rekd"] = {"settings": run}
    else:
        (tmp_path / "args.json").write_text(json.dumps(run))
    for name in ("resnet18", "timm:resnet18"):
        assert seen(tmp_path / "t.ckpt", name, format, raw) == (*colours, 32)


def test_settings_beside_the_file_of_another_run_tell_nothing(tmp_path: Path) -> None:
    run = CLASSIC | {"mean": [0.1] * 3, "std": [0.2] * 3}
    (tmp_path / "args.json").write_text(json.dumps(run))
    assert seen(tmp_path / "r50.pth", "resnet50", PLAIN, weights()) == (*IMAGENET, 224)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GREY | {"size": 384}, (*HALVES, 384)),
        (GREY | {"size": {"shortest_edge": 256}, "crop_size": {"height": 224}}, (*HALVES, 224)),
        (GREY | {"do_normalize": False, "size": {"height": 96}}, ((0,) * 3, (1,) * 3, 96)),
        # pixels from 0 to 255, of which a mean is 127.5
        (
            {"image_mean": [127.5] * 3, "image_std": [127.5] * 3, "do_rescale": False},
            (*HALVES, 224),
        ),
        ({"image_mean": [0.5], "image_std": [0.5]}, (*IMAGENET, 224)),  # is no colour's
        ({"image_mean": "0.5", "image_std": None, "size": [1]}, (*IMAGENET, 224)),
    ],
)
def test_hugging_face_beside_it(config: Any, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    for path in (tmp_path / "model.safetensors", tmp_path):
        for found, number in zip(seen(path, "resnet18", PLAIN, weights()), expected, strict=True):
            assert found == pytest.approx(number)


@pytest.mark.parametrize("outer", [True, False])
def test_timm_beside_it(outer: bool, tmp_path: Path) -> None:
    config: Any = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 384, 384]}
    (tmp_path / "config.json").write_text(
        json.dumps({"pretrained_cfg": config} if outer else config)
    )
    assert seen(tmp_path / "t.bin", "timm:resnet18", PLAIN, weights()) == (*HALVES, 384)
    # Hugging Face's own file comes first
    beside = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": 96}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(beside))
    found = seen(tmp_path / "t.bin", "timm:resnet18", PLAIN, weights())
    assert found == ((0.1,) * 3, (0.2,) * 3, 96)


def test_the_metadata_of_safetensors(tmp_path: Path) -> None:
    config = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 96, 96]}
    save_file(weights(), path := tmp_path / "t.safetensors", {"pretrained_cfg": json.dumps(config)})
    assert seen(path, "resnet18", PLAIN, weights()) == (*HALVES, 96)
    exported = {"encoder": "resnet18", "crop_size": "48", "stem": "small"}
    exported |= {"mean": "[0.1, 0.1, 0.1]", "std": "[0.2, 0.2, 0.2]"}
    save_file(weights(), path, exported)
    assert seen(path, "resnet18", PLAIN, weights()) == ((0.1,) * 3, (0.2,) * 3, 48)


UNIT = [entry.name for entry in FORMATS if entry.name.endswith(("PyTorch-SimCLR", "PyTorch-BYOL"))]
OPEN = (CLASSIC_HOST, CURRENT_HOST, "SupContrast", *UNIT)


@pytest.mark.parametrize("format", UNIT)
def test_a_format_that_does_not_normalise(format: str, tmp_path: Path) -> None:
    found = seen(tmp_path / "t.pth", "resnet18", format, {"state_dict": weights()})
    assert found == ((0.0,) * 3, (1.0,) * 3, None)


@pytest.mark.parametrize(("dataset", "red"), [("cifar10", 0.2023), ("cifar100", 0.2675)])
def test_supcontrast_s_argument_tells(dataset: str, red: float, tmp_path: Path) -> None:
    raw = {"opt": argparse.Namespace(dataset=dataset), "model": weights(stem="small")}
    _, std, size = seen(tmp_path / "t.pth", "resnet18", "SupContrast", raw)
    assert std[0] == red and size == 32
    raw["opt"].dataset = ["path"]  # whatever a file holds
    assert seen(tmp_path / "t.pth", "resnet18", "SupContrast", raw) == (None, None, None)


@pytest.mark.parametrize("format", [e.name for e in FORMATS if e.name not in UNIT])
def test_the_format(format: str, tmp_path: Path) -> None:
    found = seen(tmp_path / "t.pth", "resnet18", format, {"state_dict": weights()})
    open_to_all = format in OPEN
    assert found == ((None, None, None) if open_to_all else (*IMAGENET, 224))
    # a ResNet of a 3x3 stem saw small images, whoever trained it
    small = {"state_dict": weights(stem="small")}
    assert seen(tmp_path / "t.pth", "resnet18", format, small) == (None, None, None)


def test_timm_s_entry_for_the_name(tmp_path: Path) -> None:
    assert seen(tmp_path / "t.pth", "timm:resnet18", PLAIN, weights()) == (*IMAGENET, 224)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64)
    found = preprocessing_of(tmp_path / "t.pth", VIT, PLAIN, vit.state_dict())
    assert (found.mean, found.std, found.size) == (*HALVES, 64)  # of its position embeddings
    assert not found.doubtful
    # DINO's own file has the same names, and is normalised otherwise than timm's
    bare = {key: value for key, value in vit.state_dict().items() if not key.startswith("head")}
    assert preprocessing_of(tmp_path / "t.pth", VIT, PLAIN, bare).doubtful
    dino = {f"module.backbone.{key}": value for key, value in bare.items()}
    found = preprocessing_of(tmp_path / "t.pth", VIT, "DINO, DINOv2", {"teacher": dino})
    assert (found.mean, found.std, found.size, found.doubtful) == (*IMAGENET, 64, False)


def test_nothing_tells(tmp_path: Path) -> None:
    assert preprocessing_of(tmp_path / "t.pth", "timm:nonesuch", PLAIN, {}) == Preprocessing()
    for name in ("config.json", "preprocessor_config.json", "args.json"):
        (tmp_path / name).write_text("[1, {")
    assert preprocessing_of(tmp_path / "t.pth", "timm:nonesuch", PLAIN, {}) == Preprocessing()
