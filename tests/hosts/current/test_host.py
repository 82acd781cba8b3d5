"""Main's branch as a host of jobs: its own unedited scripts, run in this process."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

import solo.methods
from hydra.core.global_hydra import GlobalHydra
from solo.data import pretrain_dataloader

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.run_record import KEY
from solo_rekd.hosts.current import watch
from solo_rekd.hosts.current.host import connect, readable
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    View,
    to_json,
)
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json_lines

ROOT = Path(solo.methods.__file__).parents[2]
HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8}
QUEUE = HEAD | {"queue_size": 24}
REKD = QUEUE | {"teacher": "timm:resnet10t", "num_prototypes": 4, "teacher_warmup_epochs": 0}
# trains a job in a process of its own, which can be killed
IN_A_PROCESS = """
import json, sys
from pathlib import Path
from solo_rekd import hosts
from solo_rekd.hosts.jobs import Progress, pretraining_from_json
root, job, folder, history = sys.argv[1:]
progress = Progress(history=Path(history))
hosts.find(root).pretrain(pretraining_from_json(json.loads(job)), Path(folder), None, progress)
"""

Job = Callable[..., Pretraining]


@pytest.fixture
def pretraining(data: Path) -> Job:
    """Makes a tiny pretraining: six steps an epoch."""

    def build(method: str = "mocov2plus", **changes: Any) -> Pretraining:
        network, images = changes.pop("network", Network("alexnet")), changes.pop("images", {})
        optimizer = changes.pop("optimizer", {})
        settings = REKD if method == "rekd" else QUEUE
        tiny = {
            "method": method,
            "network": network,
            "images": Images(
                **{"train": f"{data}/train", "val": f"{data}/val", "size": 32, "workers": 0}
                | images
            ),
            "views": (View(blur=0),),
            "optimizer": Optimizer(**{"name": "sgd", "lr": 0.05, "schedule": "none"} | optimizer),
            "batch_size": 8,
            "epochs": 1,
            "settings": settings,
        }
        return Pretraining(**tiny | changes)  # type: ignore[arg-type]

    return build


def linear_of(job: Pretraining, checkpoint: Path | str, **changes: Any) -> LinearEvaluation:
    optimizer = Optimizer("sgd", lr=0.1, weight_decay=0, schedule="cosine")
    tiny = LinearEvaluation(str(checkpoint), job.network, job.images, optimizer, 8, 2)
    return dataclasses.replace(tiny, **changes)


def test_every_method_with_its_settings(host: Host) -> None:
    methods = host.methods()
    assert {"mocov2plus", "byol", "mae", "dino", "swav", "rekd", "disco"} <= set(methods)
    assert not {"base", "linear"} & set(methods)
    assert {"queue_size", "base_tau_momentum"} <= set(methods["mocov2plus"])
    assert "base_tau_momentum" not in methods["simclr"]
    assert {"teacher", "num_prototypes", "final_tau_momentum"} <= set(methods["rekd"])
    assert "sk_iters" in methods["swav"]  # of which the host's recipe says nothing


def test_every_method_is_read(host: Host, pretraining: Job) -> None:
    for method in host.methods():
        network = Network("vit_tiny" if method == "mae" else "resnet18")
        settings: dict[str, Any] = {}
        if method in ("bingo", "coss"):  # which have no teacher but a given one
            settings = {"teacher": "resnet18", "teacher_checkpoint": "a.ckpt"}
        read = host.check(pretraining(method, network=network, settings=settings, batch_size=256))
        assert read["method"] == method


def test_the_hosts_own_recipe_gives_what_the_job_does_not(host: Host, pretraining: Job) -> None:
    small = host.check(pretraining("byol", settings={"proj_output_dim": 8}))
    assert (small["method_kwargs.pred_hidden_dim"], small["method_kwargs.proj_output_dim"]) == (
        *(4096, 8),
    )
    assert (small["momentum.base_tau"], small["momentum.final_tau"]) == (0.99, 1.0)
    job = pretraining("simsiam", settings={}, images={"size": 224})
    assert host.check(job)["method_kwargs.pred_hidden_dim"] == 512


def test_rates_and_schedule_are_the_jobs(host: Host, pretraining: Job) -> None:
    read = host.check(pretraining(classifier_lr=0.2, optimizer={"min_lr": 0.01}))
    assert read["optimizer.lr"] == pytest.approx(0.05, rel=1e-11)
    assert read["optimizer.classifier_lr"] == pytest.approx(0.2, rel=1e-11)
    assert (read["scheduler.min_lr"], read["scheduler.interval"]) == (0.01, "epoch")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "mocov2pluss"}, "method='mocov2pluss' .* mocov2plus"),
        ({"settings": {"queue_sice": 8}}, "queue_sice=8 .* queue_size"),
        ({"host": {"acelerator": "cpu"}}, "acelerator='cpu' .* accelerator"),
        ({"host": {"devices": "none"}}, "devices='none'"),
        ({"images": {"train": "nowhere"}}, "^train_dir='nowhere'"),
        ({"images": {"workers": -1}}, "^num_workers=-1"),
        ({"optimizer": {"lr": -1}}, "^lr="),
        ({"optimizer": {"name": "sdg"}}, "^optimizer='sdg'"),
        ({"optimizer": {"schedule": "cosin"}}, "^scheduler='cosin'"),
        ({"network": Network("alexnett")}, "^encoder='alexnett'"),
        ({"network": Network("convnext_tiny", "small")}, "stem='small' .* auto"),
        ({"network": Network("timm:resnet10t", "small")}, "stem='small' .* auto"),
        ({"method": "mae", "settings": {}}, "solo-learn refuses"),
        ({"method": "rekd", "settings": {"temperature": "warm"}}, "temperature='warm'"),
        ({"host": {"data.fraction": "half"}}, "solo-learn refuses|data.fraction"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(
    changes: dict[str, Any], said: str, host: Host, pretraining: Job, tmp_path: Path
) -> None:
    job = pretraining(**changes)
    with pytest.raises(UserError, match=said):
        host.check(job)
    with pytest.raises(UserError):
        host.pretrain(job, tmp_path / "out", None, Progress())
    assert not (tmp_path / "out").exists()


def test_a_small_stem_is_on_the_hosts_resnets_too(host: Host, pretraining: Job) -> None:
    def stem(network: Network, **images: Any) -> Any:
        return host.check(pretraining(network=network, images=images)).get("backbone.kwargs.stem")

    assert stem(Network("resnet18")) == "small"
    assert stem(Network("resnet18"), size=224) == "imagenet"
    assert stem(Network("resnet18", "imagenet")) == "imagenet"
    assert stem(Network("alexnet")) is None  # which knows by the size
    assert stem(Network("alexnet", "imagenet"), size=224) == "imagenet"


def test_scripts_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--host DIR"):
        connect(tmp_path)


def test_versions_name_the_commit(host: Host) -> None:
    assert host.versions()["solo-learn"].startswith("main")
    assert set(host.versions()) == {"solo-learn", "lightning"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("rekd", Network("alexnet")),
        pytest.param("mocov2plus", Network("resnet18"), marks=pytest.mark.trial),
    ],
)
def test_both_jobs_in_one_process(
    method: str, network: Network, host: Host, pretraining: Job, tmp_path: Path
) -> None:
    before = sys.argv, os.getcwd(), signal.getsignal(signal.SIGINT), GlobalHydra.instance().hydra
    job, shares = pretraining(method, network=network, epochs=2), []
    history, told = tmp_path / "history.jsonl", []
    progress = Progress(share=shares.append, history=history, epoch=told.append)
    done = host.pretrain(job, tmp_path / "out", None, progress)
    assert done.checkpoint is not None and done.checkpoint.parts[-3] == method
    assert done.checkpoint.is_relative_to(tmp_path / "out")
    assert shares == [pytest.approx(step / 12) for step in range(1, 13)]
    lines = read_json_lines(history)
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines == told and all(0 < line["waiting"] < 1 for line in lines)
    assert lines[-1]["train_class_loss"] == done.metrics["train_class_loss"]
    assert done.seconds > 0 and done.images_per_second > 0
    record = read_checkpoint(done.checkpoint)[0][KEY]
    assert record["settings"]["method"] == method

    accuracy = host.linear(linear_of(job, done.checkpoint), None, Progress())
    assert 0 <= accuracy.top1 <= accuracy.top5 <= 100
    assert "2 epochs, sgd lr 0.1, batch 8, random resized crops of 32 px" in accuracy.protocol
    assert host.linear(linear_of(job, done.checkpoint), None, Progress()) == accuracy
    assert not list(tmp_path.glob("lightning_logs"))
    after = sys.argv, os.getcwd(), signal.getsignal(signal.SIGINT), GlobalHydra.instance().hydra
    assert after == before
    assert watch.current() is None
    assert pretrain_dataloader.DataLoader is torch.utils.data.DataLoader


def test_the_wrong_checkpoint_of_a_linear_evaluation(
    host: Host, pretraining: Job, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"backbone.nothing": torch.zeros(1)}}, path)
    for run in (host.check, lambda job: host.linear(job, None, Progress())):
        with pytest.raises(UserError, match=r"a\.ckpt"):
            run(linear_of(pretraining(), path))


@pytest.mark.slow
def test_a_diverged_training_of_the_hosts_method_ends_with_its_epoch(
    host: Host, pretraining: Job, tmp_path: Path
) -> None:
    job = pretraining("simclr", settings=HEAD, optimizer={"lr": 1e20}, epochs=3)
    with pytest.raises(UserError, match="diverged in epoch 1"):
        host.pretrain(job, tmp_path / "out", None, Progress())
    assert not list(tmp_path.glob("**/*.ckpt"))


@pytest.mark.slow
def test_too_few_images_are_refused(host: Host, pretraining: Job, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch_size=64 .* 48"):
        host.pretrain(pretraining("simclr", settings=HEAD, batch_size=64), None, None, Progress())


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("a fault of the program")])
def test_what_ends_a_training_comes_out_as_it_is(error: Any, host: Host, pretraining: Job) -> None:
    def stop(share: float) -> None:
        raise error

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        host.pretrain(pretraining(), None, None, Progress(share=stop))
    assert signal.getsignal(signal.SIGINT) == handler
    assert watch.current() is None


@pytest.mark.trial
@pytest.mark.parametrize(("method", "workers"), [("rekd", 2), ("mocov2plus", 1)])
def test_a_killed_pretraining_resumes_as_if_it_had_not_stopped(
    method: str, workers: int, host: Host, pretraining: Job, tmp_path: Path
) -> None:
    schedule = {"schedule": "warmup_cosine", "warmup_epochs": 1, "warmup_start_lr": 0.01}
    job = pretraining(method, epochs=4, optimizer=schedule, images={"workers": workers})
    whole = tmp_path / "whole.jsonl"
    host.pretrain(job, None, None, Progress(history=whole))

    history, folder = tmp_path / "parts.jsonl", tmp_path / "out"
    argv = [ROOT, json.dumps(to_json(job)), folder, history]
    process = subprocess.Popen([sys.executable, "-c", IN_A_PROCESS, *map(str, argv)], cwd=tmp_path)
    while not list(folder.glob("*/*/*-ep=1.ckpt")):
        assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    (newest,) = [path for path in folder.glob("*/*/*.ckpt") if "ep=1" in path.name]
    done = host.pretrain(job, folder, newest, Progress(history=history))
    assert done.checkpoint is not None and done.checkpoint.name.endswith("ep=3.ckpt")

    def losses(path: Path) -> list[dict[str, float]]:
        return [
            {key: value for key, value in line.items() if "loss" in key or "acc" in key}
            for line in read_json_lines(path)
        ]

    assert losses(history) == losses(whole)


@pytest.mark.slow
def test_the_command_repeats_the_job(
    host: Host, pretraining: Job, run_script: Callable[..., str]
) -> None:
    # with a stem that the host's own network lacks, in a script that is not ours otherwise
    job = pretraining("simclr", network=Network("resnet18"), settings=HEAD)
    words = shlex.split(host.command(job))
    assert words[:2] == ["python", str(ROOT / "main_pretrain.py")]
    assert "++backbone.kwargs.stem=small" in words
    run_script("main_pretrain.py", *words[2:], "++limit_train_batches=1")


@pytest.mark.slow
def test_two_processes_train_together(host: Host, pretraining: Job, tmp_path: Path) -> None:
    devices = {"devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    job = pretraining("simclr", settings=HEAD, host=devices, epochs=2)
    argv = [ROOT, json.dumps(to_json(job)), tmp_path / "out", tmp_path / "history.jsonl"]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, *map(str, argv)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = read_json_lines(tmp_path / "history.jsonl")
    assert [(line["epoch"], line["images"]) for line in lines] == [(0, 48), (1, 48)]
    assert len(list(tmp_path.glob("out/*/*/*-ep=1.ckpt"))) == 1
    assert host.check(job)["optimizer.lr"] == pytest.approx(0.05, rel=1e-11)


def test_a_file_that_torch_refuses_reaches_the_script_as_a_copy(
    pretraining: Callable[..., Pretraining], tmp_path: Path
) -> None:
    weights = build_backbone("alexnet", 32).state_dict()
    weights = {f"backbone.{name}": value for name, value in weights.items()}
    content = {"state_dict": {**weights, "classifier.weight": torch.zeros(1)}}
    torch.save(content, path := tmp_path / "run.ckpt")
    job = linear_of(pretraining(), path)
    with readable(job) as ready:
        assert ready == job
    torch.save({**content, "output": tmp_path}, path)
    with readable(job) as ready:
        copied = torch.load(ready.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(copied[name], weights[name]) for name in weights)
