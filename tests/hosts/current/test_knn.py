"""The command line of the current host's `main_knn.py`."""

import itertools
import json
import sys
from collections.abc import Iterator
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
from solo.methods import base

from solo_rekd import hosts
from solo_rekd.checkpoints.run_record import KEY, make_record
from solo_rekd.hosts.current.knn import extract_features
from solo_rekd.hosts.shared.changes import begin
from solo_rekd.hosts.shared.knn_metric import HostKnn
from solo_rekd.utils.errors import UserError

hosts.activate()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a run of rekd at 32 px; the folders of `given` are in the current one."""
    for split, label in itertools.product("xy", "ab"):
        folder = tmp_path / "images" / split / label
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "0.png")
    monkeypatch.chdir(tmp_path / "images")
    settings: dict[str, Any] = {"method": "rekd", "backbone": {"name": "resnet18"}}
    settings["augmentations"] = [{"crop_size": 32}]
    (tmp_path / "args.json").write_text(json.dumps(settings))
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    yield tmp_path
    begin(False)  # puts back what a run of ours changes


def given(folder: Path) -> list[str]:
    """The flags that every run of the script needs."""
    paths = ["--dataset", "custom", "--train_data_path", "x", "--val_data_path", "y"]
    return [*paths, "--pretrained_checkpoint_dir", str(folder)]


def parse(monkeypatch: pytest.MonkeyPatch, folder: Path, *argv: str) -> SimpleNamespace:
    monkeypatch.setattr(sys, "argv", ["main_knn.py", *given(folder), *argv])
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


SCRIPT = ("prepare_dataloaders", "extract_features", "WeightedKNNClassifier")


@pytest.mark.parametrize("method", ["rekd", "simclr"])
def test_the_names_that_the_script_has_bound_are_changed_for_our_runs_alone(
    method: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((run / "args.json").read_text()) | {"method": method}
    (run / "args.json").write_text(json.dumps(settings))
    monkeypatch.setattr(sys, "argv", ["main_knn.py", *given(run)])
    script: dict[str, Any] = {"parse": knn.parse_args_knn, "other": 1}
    own = {name: getattr(classification_dataloader, name, print) for name in SCRIPT}
    script |= own
    before = torch.Tensor.cuda
    exec("parse()", script)
    assert [script[name] is own[name] for name in SCRIPT] == [method == "simclr"] * 3
    assert torch.Tensor.cuda is before
    # of the model that the script builds
    assert (base.WeightedKNNClassifier is HostKnn) == (method == "rekd")
    begin(False)
    assert all(script[name] is own[name] for name in SCRIPT)


def test_features_are_taken_where_the_model_is() -> None:
    class Model(torch.nn.Flatten):
        device = torch.device("cpu")
        backbone = torch.nn.Flatten()

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"feats": super().forward(images), "z": images.sum((1, 2, 3))[:, None]}

    # a loader's process hands its tensors over as open files
    batches = [(torch.rand(3, 3, 2, 2), torch.arange(3).share_memory_()) for _ in range(2)]
    loader: Any = batches
    features, projected, labels = extract_features(loader, Model())
    assert (features.shape, projected.shape) == ((6, 12), (6, 1))
    assert labels.tolist() == [0, 1, 2] * 2 and not labels.is_shared()


def test_a_folder_without_a_whole_checkpoint_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"pretrained_checkpoint_dir=.* a complete .ckpt file"):
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
    args = parse(monkeypatch, run)
    assert args.pretrained_checkpoint_dir == str(run)
    assert (args.k, args.temperature, args.distance_function, args.feature_type) == (None,) * 4


@pytest.mark.parametrize("gone", ["args.json", "last.ckpt"])
def test_a_folder_that_nothing_tells_is_the_hosts(
    gone: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((run / "args.json").read_text()) | {"method": "simclr"}
    (run / "args.json").write_text(json.dumps(settings))
    (run / gone).unlink()
    assert parse(monkeypatch, run, "--k", "0").k == [0]
