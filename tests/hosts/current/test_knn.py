"""The command line of the current host's `main_knn.py`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.args import knn
from solo.data import classification_dataloader
from solo.data.classification_dataloader import prepare_transforms
from solo.methods import METHODS

from solo_rekd import hosts
from solo_rekd.checkpoints.run_record import KEY, make_record
from solo_rekd.utils.errors import UserError

hosts.activate()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of rekd at 32 px."""
    settings: dict[str, Any] = {"method": "rekd", "backbone": {"name": "resnet18"}}
    settings["augmentations"] = [{"crop_size": 32}]
    (tmp_path / "args.json").write_text(json.dumps(settings))
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    return tmp_path


def parse(monkeypatch: pytest.MonkeyPatch, folder: Path, *argv: str) -> SimpleNamespace:
    given = ["--dataset", "custom", "--train_data_path", "x", "--val_data_path", "y"]
    given += ["--pretrained_checkpoint_dir", str(folder), *argv]
    monkeypatch.setattr(sys, "argv", ["main_knn.py", *given])
    # put back afterwards
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.cuda)
    monkeypatch.setitem(METHODS, "rekd", METHODS["rekd"])
    monkeypatch.setattr(classification_dataloader.prepare_dataloaders, "in_order", False)
    return knn.parse_args_knn()  # type: ignore[return-value]


def test_the_protocol_has_defaults(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse(monkeypatch, run, "--k", "5", "20")
    assert (args.k, args.temperature) == ([5, 20], [0.07])
    assert (args.distance_function, args.feature_type) == (["cosine"], ["backbone"])


@pytest.mark.parametrize(
    ("flag", "value"),
    [("k", "0"), ("temperature", "0"), ("batch_size", "0"), ("num_workers", "-1")],
)
def test_numbers_that_cannot_be(
    flag: str, value: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError, match=rf"^{flag}={value}(\.0)? is not allowed: expected a number"
    ):
        parse(monkeypatch, run, f"--{flag}", value)


def test_images_have_the_size_of_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse(monkeypatch, run)
    assert prepare_transforms("custom")[1](Image.new("RGB", (40, 60))).shape == (3, 32, 32)
    host_run = {"method": "simclr", "backbone": {"name": "resnet18"}}
    (run / "args.json").write_text(json.dumps(host_run | {"augmentations": [{"crop_size": 32}]}))
    parse(monkeypatch, run)
    assert prepare_transforms("custom")[1](Image.new("RGB", (40, 60))).shape == (3, 224, 224)


def test_tensors_stay_where_there_is_no_gpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    parse(monkeypatch, run)
    tensor = torch.ones(2)
    assert tensor.cuda(non_blocking=True) is tensor
    # a loader's process hands its tensors over as open files
    shared = torch.ones(2).share_memory_()
    assert not shared.cuda().is_shared()
    assert torch.equal(shared.cuda(), shared)


def test_tensors_move_where_there_is_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.Tensor.cuda
    parse(monkeypatch, run)
    assert torch.Tensor.cuda is before


@pytest.mark.parametrize("gone", ["args.json", "last.ckpt"])
def test_a_folder_without_a_run_is_refused(
    gone: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / gone).unlink()
    with pytest.raises(UserError, match=r"pretrained_checkpoint_dir=.* a whole .ckpt file"):
        parse(monkeypatch, run)


def test_of_several_checkpoints_the_newest_is_judged_and_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for epoch in (10, 2, 9):
        torch.save({"state_dict": {}}, run / f"rekd-x-ep={epoch}.ckpt")
    (run / "rekd-x-ep=11.ckpt").write_bytes(b"torn")
    folder = Path(parse(monkeypatch, run).pretrained_checkpoint_dir)
    (chosen,) = folder.glob("*.ckpt")
    assert chosen.resolve() == run / "rekd-x-ep=10.ckpt"
    assert str(run / "rekd-x-ep=10.ckpt") in capsys.readouterr().out
    assert json.loads((folder / "args.json").read_text())["method"] == "rekd"


def test_the_checkpoint_itself_is_enough(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads((run / "args.json").read_text())
    (run / "args.json").unlink()
    torch.save({"state_dict": {}, KEY: make_record(settings)}, run / "last.ckpt")
    folder = Path(parse(monkeypatch, run).pretrained_checkpoint_dir)
    assert json.loads((folder / "args.json").read_text()) == settings


def test_a_run_of_the_hosts_alone_is_handed_over_as_it_is(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((run / "args.json").read_text()) | {"method": "simclr"}
    (run / "args.json").write_text(json.dumps(settings))
    assert parse(monkeypatch, run).pretrained_checkpoint_dir == str(run)
