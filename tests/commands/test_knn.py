import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command import command

from solo_rekd import hosts
from solo_rekd.hosts.backbones import builder
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]


def test_a_network_of_the_classic_host_is_judged(
    flags: Flags, host: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = builder("classic")("vit_tiny", "custom", 32).state_dict()
    weights = {f"encoder.{name}": tensor for name, tensor in state.items()}
    weights["classifier.weight"] = torch.zeros(3, 192)
    torch.save({"state_dict": weights}, path := tmp_path / "vit.ckpt")
    argv = flags("knn", pretrained_feature_extractor=path, encoder="vit_tiny")
    command("knn", *argv, "--host", "classic")
    assert re.fullmatch(
        r"kNN top-1 [\d.]+, top-5 100.00 \(weighted kNN, .*\)\n", capsys.readouterr().out
    )
    with pytest.raises(UserError, match="stem='small' is not allowed"):
        command("knn", *argv, "--host", "classic", "--stem", "small")


def test_it_needs_no_host(
    data: Path,
    online: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(given: str | None = None) -> Any:
        raise UserError("there is no host")

    monkeypatch.setattr(hosts, "locate", none)
    monkeypatch.setattr(hosts, "detect", none)
    folders = ["--data_dir", data, "--train_dir", "train", "--val_dir", "val"]
    argv = ["--dataset", "custom", *folders, "--pretrained_feature_extractor"]
    command("knn", *argv, online["checkpoint"], "--num_workers", "0")  # the rest is recorded
    assert "k 20, temperature 0.07, 32 px" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no host"):
        command("knn", *argv, online["checkpoint"], "--encoder", "vit_tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k=0 is not allowed"),
        ({"temperature": 0}, "temperature=0.0 is not allowed"),
        ({"val_dir": "two/val"}, "different classes: only one of them has c"),
        ({"val_dir": None}, "--dataset custom needs --val_dir"),
        ({"encoder": "mobilenet_v3_small"}, "pretrained_feature_extractor=.*mobilenet"),
        ({"encoder": "no_such_net"}, "encoder='no_such_net' is not allowed"),
        ({"stem": "imagenet"}, "alexnet with stem=imagenet cannot take 32 px"),
        ({"pretrained_feature_extractor": "/nowhere/x.ckpt"}, "/x.ckpt'.*a file that exists"),
        ({"knn_eval": True}, "unrecognized arguments: --knn_eval"),
    ],
)
def test_mistakes_are_one_line(
    changes: dict[str, Any], message: str, flags: Flags, online: dict[str, Any]
) -> None:
    given = {"pretrained_feature_extractor": online["checkpoint"], "num_workers": 0}
    with pytest.raises(UserError, match=message) as caught:
        command("knn", *flags("knn", **(given | changes)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dataset", "side"),
    [("vit_tiny", "custom", 64), ("swin_tiny", "custom", 224), ("swin_tiny", "cifar10", 32)],
)
def test_the_classic_host_builds_what_it_alone_has(
    name: str, dataset: str, side: int, host: ModuleType
) -> None:
    backbone = builder("classic")(name, dataset, side)
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, side, side))
    assert features.shape == (1, backbone.num_features)
    with pytest.raises(UserError, match="encoder='vit_tinny' is not allowed"):
        builder("classic")("vit_tinny", dataset, side)
