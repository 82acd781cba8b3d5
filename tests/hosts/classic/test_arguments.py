import dataclasses
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from solo_rekd.config import RekdConfig
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]


@pytest.fixture
def parse(host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], Any]:
    """Parses flags as the host's own script does."""
    from solo.args import setup

    def run(job: str, argv: list[str]) -> Namespace:
        monkeypatch.setattr(sys, "argv", ["main.py", *argv])
        return getattr(setup, f"parse_args_{job}")()

    return run


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_every_setting_with_unit_default_and_source(
    flag: str, parse: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse("pretrain", ["--method", "rekd", flag])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in dataclasses.fields(RekdConfig):
        unit = re.escape(f" [{option.metadata['unit']}]" if option.metadata["unit"] else "")
        source = re.escape(option.metadata["source"])
        entry = rf"--{option.name} .*?{unit}\. Default: {option.default} \({source}\)\."
        assert re.search(entry, shown), option.name
    # and the host's own
    for name in ("data_dir", "crop_size", "encoder", "max_epochs", "lr", "save_checkpoint"):
        assert f"--{name} " in shown


def test_help_without_a_method_is_the_hosts(
    parse: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("pretrain", ["--help"])
    assert "--data_dir" in (shown := capsys.readouterr().out)
    assert "--num_prototypes" not in shown


def transforms_now() -> Any:
    from solo.utils.classification_dataloader import prepare_transforms

    return prepare_transforms("custom")


@pytest.mark.parametrize("split", [0, 1])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_evaluation_on_a_folder_honours_the_size(
    split: int, size: int, parse: Callable[..., Any], flags: Flags
) -> None:
    parse("pretrain", flags("pretrain", method="rekd", crop_size=size))
    image = Image.new("RGB", (140, 100))
    assert transforms_now()[split](image).shape == (3, size, size)


def test_evaluation_on_a_folder_honours_mean_and_std(
    parse: Callable[..., Any], flags: Flags
) -> None:
    parse("pretrain", flags("pretrain", method="rekd", mean="0 0.5 1", std="1 0.5 0.25"))
    white = transforms_now()[1](Image.new("RGB", (32, 32), "white"))
    assert white.mean((1, 2)).tolist() == [1, 1, 0]


def test_small_images_are_seen_whole_and_large_ones_as_on_imagenet(host: ModuleType) -> None:
    from solo_rekd.images.transforms import evaluation_pipeline

    def seen(side: int) -> float:
        """How much of a centred frame of an eighth of the side is left."""
        pixels = np.full((side, side, 3), 255, np.uint8)
        border = side // 16
        pixels[border:-border, border:-border] = 0
        pipeline = evaluation_pipeline(side, (0, 0, 0), (1, 1, 1))
        return float(pipeline["T_val"](Image.fromarray(pixels)).max())

    assert seen(32) == 1
    assert seen(224) == pytest.approx(0, abs=0.2)


def test_unlabelled_files_are_not_counted_as_classes(
    parse: Callable[..., Any], flags: Flags
) -> None:
    args = parse("pretrain", flags("pretrain", method="rekd", train_dir="flat", no_labels=True))
    assert args.num_classes == 1
    args = parse("pretrain", flags("pretrain", method="rekd"))
    assert args.num_classes == 3


def test_the_hosts_script_is_left_alone_where_nothing_of_a_run_is_ours(
    parse: Callable[..., Any], flags: Flags
) -> None:
    from solo_rekd.checkpoints.run_record import KEY

    theirs = parse("pretrain", flags("pretrain", method="simclr", encoder="resnet18"))
    assert KEY not in vars(theirs)
    for ours in ({"method": "rekd"}, {"method": "simclr", "encoder": "alexnet"}):
        assert KEY in vars(parse("pretrain", flags("pretrain", **ours)))


def test_linear_script_gets_our_encoder_under_the_hosts_name(
    parse: Callable[..., Any], flags: Flags, online: dict[str, Any]
) -> None:
    from solo.utils import backbones

    checkpoint = {"pretrained_feature_extractor": online["checkpoint"]}
    args = parse("linear", flags("linear", **checkpoint))
    # what main_linear.py does with them
    net = vars(backbones)[args.encoder](**args.backbone_args)
    assert net.num_features == 256
    state = torch.load(online["checkpoint"], weights_only=True)["state_dict"]
    for name in net.state_dict():
        assert f"encoder.{name}" in state


def test_linear_script_keeps_the_hosts_encoder(
    parse: Callable[..., Any], flags: Flags, moco: dict[str, Any]
) -> None:
    checkpoint = {"pretrained_feature_extractor": moco["checkpoint"]}
    args = parse("linear", flags("linear", encoder="resnet18", **checkpoint))
    assert (args.encoder, args.backbone_args) == ("resnet18", {"cifar": False})


def test_linear_script_refuses_weights_of_another_network(
    parse: Callable[..., Any], flags: Flags, online: dict[str, Any]
) -> None:
    checkpoint = {"pretrained_feature_extractor": online["checkpoint"]}
    with pytest.raises(UserError, match=r"^pretrained_feature_extractor='.*resnet18") as caught:
        parse("linear", flags("linear", encoder="resnet18", **checkpoint))
    assert "\n" not in str(caught.value)


def test_linear_script_refuses_the_other_hosts_checkpoint(
    parse: Callable[..., Any], flags: Flags, online: dict[str, Any], tmp_path: Path
) -> None:
    # the script would find no key with `encoder` in it and probe random weights
    state = torch.load(online["checkpoint"], weights_only=True)["state_dict"]
    renamed = {name.replace("encoder.", "backbone."): value for name, value in state.items()}
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": renamed}, checkpoint)
    with pytest.raises(
        UserError, match=r"of solo-learn to 1\.0\.2, and this one is of solo-learn current"
    ):
        parse("linear", flags("linear", pretrained_feature_extractor=checkpoint))


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (None, "--pretrained_feature_extractor, the checkpoint to evaluate, is missing"),
        ("nowhere.ckpt", "nowhere.ckpt does not exist"),
    ],
)
def test_linear_script_refuses_a_missing_checkpoint(
    checkpoint: str | None, message: str, parse: Callable[..., Any], flags: Flags, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        parse("linear", flags("linear", pretrained_feature_extractor=checkpoint))


def test_the_scripts_read_images_by_our_rules_for_our_runs_alone(
    parse: Callable[..., Any], flags: Flags, moco: dict[str, Any], train: Callable[..., Any]
) -> None:
    from solo.utils import classification_dataloader, pretrain_dataloader
    from torchvision.datasets import ImageFolder

    from solo_rekd.images.sets import ClassFolders

    def read() -> set[type]:
        return {pretrain_dataloader.ImageFolder, classification_dataloader.ImageFolder}

    for method, encoder, folder in (
        ("rekd", "resnet18", ClassFolders),
        ("simclr", "resnet18", ImageFolder),
        ("simclr", "alexnet", ClassFolders),
    ):
        parse("pretrain", flags("pretrain", method=method, encoder=encoder))
        assert read() == {folder}
    short = {"encoder": "resnet18", "limit_train_batches": 2, "limit_val_batches": 0}
    for run, folder in ((moco, ImageFolder), (train("seed", **short), ClassFolders)):
        checkpoint = {"pretrained_feature_extractor": run["checkpoint"]}
        parse("linear", flags("linear", encoder="resnet18", **checkpoint))
        assert read() == {folder}
