"""What a job of Hydra finds in the current host, whosever it is."""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.args import knn, linear, pretrain, umap
from solo.data import classification_dataloader, pretrain_dataloader
from solo.methods import METHODS, base
from solo.methods import linear as linear_method
from solo.utils import knn as host_knn
from solo.utils import metrics
from solo.utils.auto_resumer import AutoResumer
from torchmetrics import Metric

from solo_rekd.hosts.current.callbacks import is_ours
from solo_rekd.hosts.current.checks import is_our_run
from solo_rekd.hosts.current.hydra_jobs import OurJobs
from solo_rekd.hosts.shared import ownership
from solo_rekd.objectives import OBJECTIVES

Compose = Callable[..., Any]
THEIRS = {"backbone.name": "resnet18"}
HOST = (
    *(base, linear_method, metrics, host_knn, classification_dataloader, pretrain_dataloader),
    *(knn, umap, linear, pretrain, AutoResumer, base.BaseMethod),
)


@pytest.fixture
def start(compose: Compose) -> Iterator[Callable[..., None]]:
    """Starts a job of Hydra: start("mocov2plus", **changes)."""
    jobs = OurJobs()

    def run(recipe: str, **changes: Any) -> None:
        jobs.on_job_start(compose(recipe, **changes))

    yield run
    run("rekd")  # as the other tests expect it


def of_ours() -> set[str]:
    """What the host's modules and classes hold of ours."""
    found = set()
    for owner in HOST:
        for name, value in vars(owner).items():
            value = getattr(value, "func", value)
            if getattr(value, "__module__", "").startswith("solo_rekd") or (
                inspect.isfunction(value) and value.__code__.co_filename.count("solo_rekd")
            ):
                found.add(f"{owner.__name__}.{name}")
    return found


def test_a_job_that_is_not_ours_finds_the_host_alone(
    start: Callable[..., None], compose: Compose
) -> None:
    start("rekd")
    pretrain.parse_cfg(compose("rekd"))
    assert METHODS.keys() >= OBJECTIVES.keys()
    ours = of_ours()
    names = ("build_custom_pipeline", "find_checkpoint", "accuracy_at_k", "WeightedKNNClassifier")
    assert [name for name in names if not any(each.endswith(name) for each in ours)] == []
    start("mocov2plus", **THEIRS)
    assert METHODS.keys().isdisjoint(OBJECTIVES)
    assert of_ours() == set() and type(base.BaseMethod._BACKBONES) is dict
    assert not ownership.has_our_run()
    start("mocov2plus")  # on a backbone of ours
    assert METHODS.keys() >= OBJECTIVES.keys()
    assert ownership.has_our_run()


def test_no_library_is_changed_for_any_run(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    # which a test of `main_knn.py` may have left in this process
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    pretrain.parse_cfg(compose("rekd"))
    for value in (
        Metric.__init__,
        Metric.forward,
        torch.Tensor.cuda,
        argparse.ArgumentParser.error,
    ):
        assert "solo_rekd" not in (getattr(value, "__module__", None) or "")
    assert not hasattr(sys.excepthook, "handles_user_error")


def test_every_run_of_our_commands_is_ours(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose("mocov2plus", **THEIRS)
    assert not is_our_run(cfg) and not is_ours(torch.nn.Identity())
    monkeypatch.setattr(ownership, "_claimed", True)
    assert is_our_run(cfg) and is_ours(torch.nn.Identity())
    assert not is_our_run(None)


def test_settings_that_cannot_be_read_are_not_ours(
    start: Callable[..., None], compose: Compose
) -> None:
    cfg = compose("mocov2plus", **THEIRS)
    for value in ([], "${nowhere}", None):
        cfg.backbone = value
        assert not is_our_run(cfg)


@pytest.mark.slow
def test_a_multirun_may_have_both(
    run_script: Callable[..., str], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    changes = {"backbone.name": "resnet18,alexnet,wide_resnet28w2", "hydra.sweep.dir": "sweep"}
    argv = arguments("mocov2plus", **changes, **{"+limit_train_batches": 1})
    # the host evaluates top-5 of at least five classes, which these images do not have
    argv += ["data.val_path=null", "optimizer.classifier_lr=0"]
    shown = run_script("main_pretrain.py", "-m", *argv, "knn_eval.enabled=False")
    assert shown.count("from entry point 'solo-rekd'") == 1
    runs = [path.read_text() for path in tmp_path.glob("trained_models/mocov2plus/*/args.json")]
    assert sorted('"solo_rekd"' in run for run in runs) == [False, False, True]
    assert all(('"name": "alexnet"' in run) == ('"solo_rekd"' in run) for run in runs)
