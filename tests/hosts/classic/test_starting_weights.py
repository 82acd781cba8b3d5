"""`--student_checkpoint` on the classic host: what a run starts from, resumes and refuses."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from solo_rekd import backbones
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.hosts import jobs
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
# nothing is learned; the statistics of BatchNorm follow the images all the same
STILL = {"lr": 0, "classifier_lr": 0, "weight_decay": 0, "limit_train_batches": 1}
STILL |= {"limit_val_batches": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of weights of some networks, which no seed of a run draws."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(99)
    nets = {name: backbones.build_backbone(name, 32) for name in ("alexnet", "mobilenet_v3_small")}
    nets["resnet18"] = models.resnet18()  # a torchvision file, with ImageNet's stem and classifier
    paths = {}
    for name, net in nets.items():
        paths[name] = folder / f"{name}.pth"
        torch.save(net.state_dict(), paths[name])
    return paths


def parameters(path: Path) -> dict[str, torch.Tensor]:
    """The parameters of a file of `weights`, without classifier and statistics."""
    raw, _ = read_checkpoint(path)
    unlearned = ("running_mean", "running_var", "num_batches_tracked")
    return {
        name: value
        for name, value in raw.items()
        if not name.startswith("fc.") and not name.endswith(unlearned)
    }


def assert_holds(checkpoint: str, path: Path, *networks: str) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for network in networks:
        for name, value in parameters(path).items():
            # a step averages the twin with its equal, which rounds
            torch.testing.assert_close(state[f"{network}.{name}"], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "encoder", "twin"),
    [
        ("rekd", "alexnet", True),
        ("mocov2plus", "resnet18", True),
        ("byol", "mobilenet_v3_small", True),
        ("simclr", "alexnet", False),
    ],
)
def test_the_student_and_its_twin_start_from_the_file(
    method: str, encoder: str, twin: bool, train: Train, weights: dict[str, Path]
) -> None:
    settings = {"encoder": encoder, "student_checkpoint": weights[encoder]}
    if method == "byol":
        settings |= {"pred_hidden_dim": 16, "queue_size": None, "teacher": None}
    run = train(method, **STILL, **settings)
    networks = ("encoder", "momentum_encoder") if twin else ("encoder",)
    assert_holds(run["checkpoint"], weights[encoder], *networks)
    record = torch.load(run["checkpoint"], weights_only=True)["solo_rekd"]["settings"]
    assert record["student_checkpoint"] == str(weights[encoder])
    assert record["solo_rekd"]["student_checkpoint"] == read_checkpoint(weights[encoder])[1]


def test_a_resumed_run_keeps_its_own_weights_and_refuses_another_start(
    train: Train, weights: dict[str, Path], tmp_path: Path
) -> None:
    settings = STILL | {"lr": 0.5, "checkpoint_dir": tmp_path}
    path = weights["alexnet"]
    first = train("mocov2plus", student_checkpoint=path, **settings)
    begun = torch.load(first["checkpoint"], weights_only=True)["state_dict"]
    again = settings | {"max_epochs": 2, "resume_from_checkpoint": first["checkpoint"]}
    with pytest.raises(UserError, match=r"student_checkpoint is none .*was the file"):
        train("mocov2plus", **again)
    other = tmp_path / "other.pth"
    torch.save({k: v + 1 for k, v in torch.load(path, weights_only=True).items()}, other)
    with pytest.raises(UserError, match=r"student_checkpoint is the file"):
        train("mocov2plus", student_checkpoint=other, **again)
    moved = tmp_path / "moved.pth"
    moved.write_bytes(path.read_bytes())
    # a rate of 0 shows what the resumed run began with
    optimizer = torch.load(first["checkpoint"], weights_only=True)
    for group in optimizer["optimizer_states"][0]["param_groups"]:
        group["lr"] = 0.0
    optimizer["optimizer_states"][0]["state"] = {}
    torch.save(optimizer, first["checkpoint"])
    resumed = train("mocov2plus", student_checkpoint=moved, **again)
    after = torch.load(resumed["checkpoint"], weights_only=True)["state_dict"]
    name = "encoder.features.0.weight"
    assert torch.equal(after[name], begun[name])
    assert not torch.equal(after[name], parameters(path)["features.0.weight"])


def test_a_run_without_the_file_does_not_resume_into_one_with_it(
    train: Train, weights: dict[str, Path], tmp_path: Path
) -> None:
    settings = STILL | {"checkpoint_dir": tmp_path}
    first = train("simclr", **settings)
    again = settings | {"max_epochs": 2, "resume_from_checkpoint": first["checkpoint"]}
    with pytest.raises(UserError, match=r"student_checkpoint is the file .*was none"):
        train("simclr", student_checkpoint=weights["alexnet"], **again)


@pytest.mark.parametrize(
    ("encoder", "file", "changes", "fragment"),
    [
        ("alexnet", "resnet18", {}, "does not fit alexnet.*looks like resnet18"),
        ("resnet18", "resnet18", {"stem": "small"}, "stem='small'.*imagenet"),
        ("alexnet", "missing", {}, "does not exist"),
        ("alexnet", "text", {}, "checkpoint"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(
    encoder: str,
    file: str,
    changes: dict[str, str],
    fragment: str,
    train: Train,
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    path = weights.get(file, tmp_path / "file.pth")
    if file == "text":
        path.write_text("no weights")
    out = tmp_path / "runs"
    settings = {"encoder": encoder, "student_checkpoint": path, "checkpoint_dir": out}
    with pytest.raises(UserError, match=f"student_checkpoint='{path}'.*{fragment}"):
        train("mocov2plus", **STILL, **settings, **changes)
    assert not out.exists()


def test_the_file_decides_the_stem(host: ModuleType, flags: Flags, tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    state = backbones.build_backbone("resnet18", 32).state_dict()
    state = {f"encoder.{key}": value for key, value in state.items()}
    state |= {"classifier.weight": torch.ones(2), "projector.0.weight": torch.ones(2, 512)}
    torch.save(state, path)
    given = {"encoder": "resnet18", "crop_size": 96, "student_checkpoint": path}
    args = host.parse_pretrain(flags("pretrain", method="simclr", **given))
    assert (args.stem, args.backbone_args["cifar"]) == ("small", True)


def test_the_methods_of_the_host_have_no_such_setting() -> None:
    from solo_rekd import hosts

    methods = hosts.find("classic").methods()
    assert not [name for name, settings in methods.items() if "student_checkpoint" in settings]
    assert "student_checkpoint" in jobs.Pretraining.__dataclass_fields__


# `solo-rekd`, which keeps what each process has before its first step
WITNESS = """
import os
import torch
from solo_rekd import hosts
from solo_rekd.cli import main

hosts.commands()
from solo.methods import METHODS

start = METHODS["rekd"].on_train_start

def keep(self):
    start(self)
    path = os.path.join(os.environ["WITNESS"], f"rank{self.global_rank}.pt")
    torch.save({"ddp": type(self.trainer.strategy.model).__name__, **self.state_dict()}, path)

METHODS["rekd"].on_train_start = keep
main()
"""


@pytest.mark.trial
def test_every_process_starts_from_the_file(
    flags: Flags, weights: dict[str, Path], tmp_path: Path
) -> None:
    script = tmp_path / "witness.py"
    script.write_text(WITNESS)
    two = {"devices": 2, "strategy": "ddp", "batch_size": 4, "limit_train_batches": 1}
    start = {"student_checkpoint": weights["alexnet"], "limit_val_batches": 0}
    done = subprocess.run(
        [sys.executable, script, "pretrain", *flags("pretrain", method="rekd", **two, **start)],
        env=os.environ | {"WITNESS": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        state = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert "DistributedDataParallel" in state.pop("ddp")
        for network in ("encoder", "momentum_encoder"):
            for name, value in parameters(weights["alexnet"]).items():
                assert torch.equal(state[f"{network}.{name}"], value), (rank, network, name)


def test_the_twin_has_the_statistics_too(host: ModuleType, weights: dict[str, Path]) -> None:
    from solo_rekd.hosts.classic.callbacks import StartingWeights

    class Model(nn.Module):
        encoder_name, backbone_args = "mobilenet_v3_small", {}

        def __init__(self) -> None:
            super().__init__()
            self.extra_args = {"student_checkpoint": path}
            self.encoder = backbones.build_backbone("mobilenet_v3_small", 32)
            self.momentum_encoder = backbones.build_backbone("mobilenet_v3_small", 32)

    path = weights["mobilenet_v3_small"]
    raw = dict(read_checkpoint(path)[0])
    changed = path.with_name("statistics.pth")
    raw["features.0.1.running_mean"] = torch.full_like(raw["features.0.1.running_mean"], 0.5)
    torch.save(raw, changed)
    path = changed

    class Trainer:
        ckpt_path = None

    model = Model()
    StartingWeights().setup(Trainer(), model, "fit")  # type: ignore[arg-type]
    for net in (model.encoder, model.momentum_encoder):
        assert net.features[0][1].running_mean.eq(0.5).all()
