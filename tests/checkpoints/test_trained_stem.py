"""Which first layers a file's weights were trained with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.load import load_networks

RUN = {"encoder": "mobilenet_v3_small", "crop_size": [32], "dataset": "custom"}
# networks whose weights have the same shapes with either stem
EITHER = ("mobilenet_v3_small", "shufflenet_v2_x1_0", "efficientnet_b0")


@pytest.mark.parametrize("name", EITHER)
def test_published_weights_keep_imagenet_s(name: str, shake: Any, tmp_path: Path) -> None:
    source = shake(build_backbone(name, 64, "imagenet"), seed=1)
    torch.save(source.state_dict(), path := tmp_path / "t.pth")
    loaded = load_networks(path, name, 64)
    assert loaded.stem == "imagenet"
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone.eval()(images), source(images))
    assert load_networks(path, name, 64, "small").stem == "small"  # as the user says


@pytest.mark.parametrize(("crop", "stem"), [(32, "small"), (96, "imagenet")])
@pytest.mark.parametrize("inside", [True, False])
def test_a_run_of_a_host_tells_its_own(crop: int, stem: str, inside: bool, tmp_path: Path) -> None:
    state = build_backbone("mobilenet_v3_small", 64).state_dict()
    raw: dict[str, Any] = {"state_dict": {f"encoder.{key}": value for key, value in state.items()}}
    raw["state_dict"]["classifier.weight"] = torch.zeros(3, 576)
    run = RUN | {"crop_size": [crop]}
    if inside:
        raw["solo_rekd"] = {"settings": run}
    else:
        (tmp_path / "args.json").write_text(json.dumps(run))
    torch.save(raw, path := tmp_path / "t.ckpt")
    for side in (32, 96):  # whatever the size of the images now
        assert load_networks(path, "mobilenet_v3_small", side).stem == stem


@pytest.mark.parametrize(("side", "stem"), [(32, "small"), (96, "imagenet")])
def test_a_host_s_file_that_tells_nothing_goes_by_the_size(
    side: int, stem: str, tmp_path: Path
) -> None:
    state = build_backbone("mobilenet_v3_small", 64).state_dict()
    tensors = {f"encoder.{key}": value for key, value in state.items()}
    tensors["classifier.weight"] = torch.zeros(3, 576)
    torch.save({"state_dict": tensors}, path := tmp_path / "t.ckpt")
    assert load_networks(path, "mobilenet_v3_small", side).stem == stem


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_an_alexnet_by_its_first_convolution(stem: str, tmp_path: Path) -> None:
    torch.save(build_backbone("alexnet", 64, stem).state_dict(), path := tmp_path / "t.pth")
    assert load_networks(path, "alexnet", 64).stem == stem
