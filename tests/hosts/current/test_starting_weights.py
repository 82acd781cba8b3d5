"""`student_checkpoint` on main: jobs, unedited scripts, and what a run resumes and refuses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from torchvision import models

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.hosts.current.checks import is_our_run
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    View,
)
from solo_rekd.utils.errors import UserError

HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": HEAD,
    "mocov2plus": HEAD | {"queue_size": 24},
    "byol": HEAD | {"pred_hidden_dim": 16},
    "rekd": HEAD | {"queue_size": 24, "teacher": "timm:resnet10t", "num_prototypes": 4},
}
UNLEARNED = ("running_mean", "running_var", "num_batches_tracked")
# nothing is learned; the statistics of BatchNorm follow the images all the same
STILL = Optimizer("sgd", 0.0, weight_decay=0.0, schedule="none")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of weights of some networks, which no seed of a run draws."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(99)
    nets = {
        "alexnet": build_backbone("alexnet", 32),
        "resnet18": models.resnet18(),  # with ImageNet's first layers and classifier
        "small": build_backbone("resnet18", 32),
    }
    paths = {name: folder / f"{name}.pth" for name in nets}
    for name, net in nets.items():
        torch.save(net.state_dict(), paths[name])
    # as main writes it: of a bare file with a 3x3 stem nothing tells the rest
    written = {f"backbone.{key}": value for key, value in nets["small"].state_dict().items()}
    written |= {"classifier.weight": torch.ones(2), "projector.0.weight": torch.ones(2, 512)}
    torch.save({"state_dict": written}, paths["small"])
    return paths


@pytest.fixture
def pretraining(data: Path) -> Callable[..., Pretraining]:
    def build(method: str, **changes: Any) -> Pretraining:
        images = Images(f"{data}/train", f"{data}/val", size=32, workers=0)
        job = Pretraining(method, Network("alexnet"), images, (View(blur=0),), STILL, 8, 1)
        settings = {"settings": SETTINGS[method], "host": {"limit_train_batches": 1}}
        return dataclasses.replace(job, **settings | changes)

    return build


def assert_holds(checkpoint: Path | None, path: Path, *networks: str) -> None:
    assert checkpoint is not None
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in read_checkpoint(path)[0].items():
        if not name.endswith(UNLEARNED) and not name.startswith("fc."):
            for network in networks:
                # a step averages the twin with its equal, which rounds
                torch.testing.assert_close(state[f"{network}.{name}"], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["rekd", "mocov2plus", "byol", "simclr"])
def test_the_student_and_its_twin_start_from_the_file(
    method: str,
    host: Host,
    pretraining: Callable[..., Pretraining],
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    path = weights["alexnet"]
    job = pretraining(method, student_checkpoint=str(path))
    run = host.pretrain(job, tmp_path / "out", None, Progress())
    networks = ("backbone",) if method == "simclr" else ("backbone", "momentum_backbone")
    assert_holds(run.checkpoint, path, *networks)
    assert run.checkpoint is not None
    record = torch.load(run.checkpoint, weights_only=True)["solo_rekd"]["settings"]
    assert record["student_checkpoint"] == str(path)
    assert record["solo_rekd"]["student_checkpoint"] == read_checkpoint(path)[1]


def test_a_resumed_run_keeps_its_weights_and_refuses_another_start(
    host: Host,
    pretraining: Callable[..., Pretraining],
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    learns = Optimizer("sgd", 0.05, schedule="none")
    path = str(weights["alexnet"])
    job = pretraining("mocov2plus", student_checkpoint=path, optimizer=learns)
    first = host.pretrain(job, tmp_path / "out", None, Progress()).checkpoint
    longer = dataclasses.replace(job, epochs=2)
    with pytest.raises(UserError, match=r"student_checkpoint is none .*was the file"):
        none = dataclasses.replace(longer, student_checkpoint=None)
        host.pretrain(none, tmp_path / "out", first, Progress())
    resumed = host.pretrain(longer, tmp_path / "out", first, Progress()).checkpoint
    assert first is not None and resumed is not None
    assert torch.load(resumed, weights_only=True)["global_step"] == 2
    after = torch.load(resumed, weights_only=True)["state_dict"]["backbone.features.0.weight"]
    begun = torch.load(first, weights_only=True)["state_dict"]["backbone.features.0.weight"]
    started = read_checkpoint(path)[0]["features.0.weight"]
    # two steps from the file, not one
    assert (after - begun).norm() < (after - started).norm()


@pytest.mark.parametrize(
    ("file", "changes", "fragment"),
    [
        ("resnet18", {}, "does not fit alexnet.*looks like resnet18"),
        ("missing", {}, "does not exist"),
        ("resnet18", {"network": Network("resnet18", "small")}, "stem='small'.*imagenet"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(
    file: str,
    changes: dict[str, Any],
    fragment: str,
    host: Host,
    pretraining: Callable[..., Pretraining],
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    path = str(weights.get(file, tmp_path / "file.pth"))
    job = pretraining("mocov2plus", student_checkpoint=path, **changes)
    for run in (host.check, lambda job: host.pretrain(job, tmp_path / "out", None, Progress())):
        with pytest.raises(UserError, match=f"student_checkpoint='{path}'.*{fragment}"):
            run(job)
    assert not (tmp_path / "out").exists()


def test_the_key_makes_a_run_ours_and_the_file_decides_the_stem(
    compose: Callable[..., Any], weights: dict[str, Path], data: Path
) -> None:
    from solo.args.pretrain import parse_cfg

    changes = {"backbone.name": "resnet18", "knn_eval.enabled": False}
    assert not is_our_run(compose("mocov2plus", **changes))
    for file, stem in (("small", "small"), ("resnet18", "imagenet")):
        cfg = compose("mocov2plus", **changes, **{"+student_checkpoint": weights[file]})
        assert is_our_run(cfg)
        assert parse_cfg(cfg).backbone.kwargs.stem == stem
    cifar = {"+student_checkpoint": weights["resnet18"], "data.dataset": "cifar10"}
    with pytest.raises(UserError, match=r"student_checkpoint=.*cifar10.*data\.dataset=custom"):
        parse_cfg(compose("mocov2plus", **changes, **cifar))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["rekd", "mocov2plus"])
def test_the_unedited_script_starts_from_the_file(
    recipe: str,
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    still = {"optimizer.lr": 0, "optimizer.weight_decay": 0, "+limit_train_batches": 1}
    start = {"+student_checkpoint": weights["alexnet"], "optimizer.classifier_lr": 0}
    said = run_script("main_pretrain.py", *arguments(recipe, **still, **start))
    assert f"start from {weights['alexnet']}" in said
    (checkpoint,) = tmp_path.glob("trained_models/**/*.ckpt")
    assert_holds(checkpoint, weights["alexnet"], "backbone", "momentum_backbone")


def test_a_linear_evaluation_reads_a_file_of_any_format(
    host: Host,
    pretraining: Callable[..., Pretraining],
    weights: dict[str, Path],
) -> None:
    images = pretraining("simclr").images
    optimizer = Optimizer("sgd", lr=0.1, weight_decay=0, schedule="cosine")
    job = LinearEvaluation(
        str(weights["resnet18"]), Network("resnet18", "imagenet"), images, optimizer, 8, 1
    )
    assert 0 <= host.linear(job, None, Progress()).top1 <= 100
    other = dataclasses.replace(job, network=Network("resnet34", "imagenet"))
    with pytest.raises(UserError, match=f"{weights['resnet18']}.*looks like resnet18"):
        host.linear(other, None, Progress())
