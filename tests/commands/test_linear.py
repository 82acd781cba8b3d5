from pathlib import Path
from typing import Any

import pytest
import torch
from command import command

from solo_rekd.backbones import build_backbone
from solo_rekd.hosts.jobs import Network, Progress
from solo_rekd.utils.errors import UserError

FOLDERS = "--dataset custom --data_dir D --train_dir train --val_dir val --optimizer sgd".split()


def judged(path: object) -> list[str]:
    return ["--pretrained_feature_extractor", str(path), *FOLDERS]


def test_the_host_evaluates(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command("linear", *judged("x.ckpt"), "--encoder", "alexnet")
    ((job, folder, progress),) = stand_in.asked
    assert (job.checkpoint, job.network) == ("x.ckpt", Network("alexnet"))
    assert (folder, progress) == (None, Progress("linear evaluation"))
    assert capsys.readouterr().out == "linear top-1 12.50, top-5 50.00 (as agreed)\n"


def test_the_checkpoint_names_its_network(stand_in: Any, online: dict[str, Any]) -> None:
    command("linear", *judged(online["checkpoint"]))
    assert stand_in.asked[0][0].network == Network("alexnet")


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_the_weights_of_a_resnet_tell_its_stem(stem: str, stand_in: Any, tmp_path: Path) -> None:
    state = build_backbone("resnet18", 32, stem).state_dict()
    state = {f"backbone.{key}": value for key, value in state.items()}
    torch.save(state | {"classifier.weight": torch.ones(2)}, path := tmp_path / "weights.pth")
    command("linear", *judged(path), "--encoder", "resnet18", "--crop_size", "32")
    assert stand_in.asked[0][0].network == Network("resnet18", stem)
    with pytest.raises(UserError, match="--encoder is missing"):
        command("linear", *judged(path))
