import json
import math
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from solo_rekd.utils.errors import UserError, report

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
# The host as it runs without the plug-in: only what today's Lightning asks for is mended.
THREE_STEPS = {"limit_train_batches": 3, "limit_val_batches": 1}
BARE_HOST = """
import json, sys
from solo_rekd.hosts.classic import patches
patches.apply()
from solo_rekd.hosts.classic import commands
metrics = commands.pretrain(sys.argv[1:])["metrics"]
print(json.dumps(["rekd" in commands.METHODS, metrics]))
"""


def test_two_classes_with_online_knn_and_momentum_classifier(
    host: ModuleType, train: Train, flags: Flags, data: Path
) -> None:
    two = {"data_dir": data / "two"}
    run = train("rekd", **two, momentum_classifier=True, knn_eval=True, knn_k=3)
    metrics = run["metrics"]
    # the best five of two classes are both
    assert metrics["val_acc5"] == metrics["momentum_val_acc5"] == metrics["val_knn_acc5"] == 100
    assert 0 <= metrics["val_knn_acc1"] <= 100
    assert metrics["train_momentum_class_loss"] > 0
    state = torch.load(run["checkpoint"], weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())

    checkpoint = {"pretrained_feature_extractor": run["checkpoint"]}
    result = host.linear(flags("linear", **two, **checkpoint))
    assert result["top5"] == 100
    assert 0 <= result["top1"] <= 100


def test_dino_trains_and_clips_its_gradients(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from solo.methods.dino import DINO

    clipped, clip = [], DINO.clip_gradients

    def note(self: Any, *args: Any, **kwargs: Any) -> Any:
        clipped.append(args[0] if not kwargs else None)
        return clip(self, *args, **kwargs)

    monkeypatch.setattr(DINO, "clip_gradients", note)
    metrics = train("dino", clip_grad=0.5)["metrics"]
    assert math.isfinite(metrics["dino_loss"])
    assert {0.5, None} == set(clipped)  # the host's own, and Lightning's


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(
    workers: int,
    host: ModuleType,
    data: Path,
    tmp_path: Path,
    flags: Flags,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data / "train", tmp_path / "train")
    broken = max(tmp_path.glob("train/**/*.png"))
    broken.write_bytes(broken.read_bytes()[:-40])
    changes = {"data_dir": tmp_path, "val_dir": None, "num_workers": workers}
    argv = flags("pretrain", method="simclr", **changes)
    with pytest.raises(UserError) as caught:
        host.pretrain(argv)
    capsys.readouterr()
    report(caught.value)
    line = f"solo-rekd: error: {broken} cannot be decoded: image file is truncated\n"
    assert capsys.readouterr().err == line


def test_online_knn_accumulates_without_computing(host: ModuleType) -> None:
    from solo.utils.knn import WeightedKNNClassifier

    features = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]])
    labels = torch.tensor([0, 0, 1, 1])
    knn = WeightedKNNClassifier(k=2, distance_fx="euclidean")
    assert knn(train_features=features, train_targets=labels) is None
    for feature, label in zip(features + 0.2, torch.tensor([0, 0, 1, 0]), strict=True):
        knn(test_features=feature[None], test_targets=label[None])
    assert knn.compute() == (75, 100)


def test_momentum_twin_follows_after_a_step(online: dict[str, Any]) -> None:
    # Lightning 1.9 calls the host's hook with one argument less, which then raises
    assert 0.99 < online["metrics"]["tau"] <= 1


@pytest.mark.parametrize(
    ("cuda", "accelerator", "devices", "gpus"),
    [
        (False, None, None, None),
        (True, None, None, "kept"),
        (True, "cpu", None, None),
        (True, "gpu", 2, None),
    ],
)
def test_trainer_gets_the_arguments_of_its_version(
    cuda: bool,
    accelerator: str,
    devices: int,
    gpus: Any,
    host: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from solo_rekd.hosts.classic import patches

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    build = patches.rename_trainer_arguments(lambda args, **kwargs: kwargs)
    args = Namespace(accelerator=accelerator, devices=devices)
    built = build(args, checkpoint_callback=False, terminate_on_nan=True, plugins=None)
    assert built.pop("gpus", "kept") == gpus
    (callback,) = built.pop("callbacks")
    assert isinstance(callback, patches.TerminateOnNan)
    assert built == {"enable_checkpointing": False, "plugins": None}
    built = build(args, terminate_on_nan=False, callbacks=["theirs"])
    assert built["callbacks"] == ["theirs"]


def test_trainer_flags_that_the_host_computes_with_have_defaults(host: ModuleType) -> None:
    import pytorch_lightning as pl

    args = pl.Trainer.add_argparse_args(ArgumentParser()).parse_args([])
    assert (args.gpus, args.accumulate_grad_batches) == (0, 1)


def test_accuracy_at_more_than_the_classes(host: ModuleType) -> None:
    from solo.utils.metrics import accuracy_at_k

    logits = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    top1, top5 = accuracy_at_k(logits, torch.tensor([0, 1]), top_k=(1, 5))
    assert (top1.item(), top5.item()) == (50, 100)


@pytest.mark.slow
def test_the_hosts_own_method_is_the_same_to_the_last_bit(
    host: ModuleType, flags: Flags, tmp_path: Path
) -> None:
    argv = flags("pretrain", method="simclr", encoder="resnet18", **THREE_STEPS)
    # without coverage, which doubles the seconds that the host takes to import
    alone = {
        "SOLO_REKD_AUTOLOAD": "0",
        "COVERAGE_PROCESS_START": "",
        "COVERAGE_PROCESS_CONFIG": "",
    }
    bare = subprocess.run(
        [sys.executable, "-c", BARE_HOST, *argv],
        env=os.environ | alone,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert bare.returncode == 0, bare.stderr
    registered, metrics = json.loads(bare.stdout.splitlines()[-1])
    assert not registered
    assert math.isfinite(metrics["train_nce_loss"])
    assert host.pretrain(argv)["metrics"] == metrics
