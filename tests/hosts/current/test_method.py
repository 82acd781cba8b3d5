"""The methods of the current host, in the host: settings, one step, resuming."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import OmegaConf
from waits import NoWaits

from solo_rekd import hosts
from solo_rekd.config import RekdConfig
from solo_rekd.utils.errors import UserError

Build = Callable[..., Any]
ONE_MEMORY = {"method_kwargs.variant": "1q"}


def step(method: Any, batch: list[Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One training step without a trainer: the loss, and what was logged."""
    logged: dict[str, torch.Tensor] = {}
    method.log = lambda name, value, **kw: logged.update({name: value})
    method.log_dict = lambda values, **kw: logged.update(values)
    method.train()
    loss = method.training_step(batch, 0)
    loss.backward()
    return loss, logged


def make_batch(labels: torch.Tensor) -> list[Any]:
    return [torch.arange(8), [torch.randn(8, 3, 32, 32) for _ in range(2)], labels]


def test_the_host_is_told_by_what_it_is_made_of() -> None:
    assert hosts.detect() == "current"
    with pytest.raises(UserError, match="has scripts instead"):
        hosts.commands()


def test_settings_are_filled_in_from_the_dataclass(pretraining: Build) -> None:
    method = pretraining("rekd", **{"method_kwargs.temperature": 1})
    given = {"queue_size": 24, "proj_hidden_dim": 16, "proj_output_dim": 8, "num_prototypes": 4}
    given |= {"teacher": "timm:resnet10t", "teacher_warmup_epochs": 0, "temperature": 1.0}
    expected = RekdConfig(**given)
    assert method.objective.config == expected.settled(epochs=1)
    assert OmegaConf.to_container(method.cfg.method_kwargs) == dataclasses.asdict(expected)


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.485, 0.229),
        ({"+augmentations.0.mean": [0.5] * 3, "+augmentations.0.std": [0.2] * 3}, 0.5, 0.2),
        ({"data.dataset": "cifar100"}, 0.5071, 0.2673),  # the host's own
    ],
)
def test_an_objective_knows_the_colours_of_its_views(
    changes: dict[str, Any], mean: float, std: float, pretraining: Build
) -> None:
    run = pretraining("rekd", **changes).objective.run
    assert (run.mean[0], run.std[0]) == (mean, std)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("quue_size", 8, r"method_kwargs.quue_size=8 is not .* queue_size, or another of .*teach"),
        ("lr", 0.1, r"method_kwargs.lr=0.1 is not allowed: expected .*proj_hidden_dim, .*own_weig"),
        ("queue_size", "many", "queue_size='many' is not allowed: expected a whole number"),
        ("queue_size", 24.5, "queue_size=24.5 is not allowed: expected a whole number"),
        ("temperature", "warm", "temperature='warm' is not allowed: expected a number"),
        ("temperature", 0, "temperature=0.0 is not allowed: expected a number of 0.0001"),
        ("own_weight", "even", "own_weight='even' is not allowed: expected a number .* uniform"),
        (
            "dictionary",
            "all",
            "dictionary='all' is not allowed: expected auto, student, teacher, both",
        ),
        ("teacher", "resnet51", "teacher='resnet51' is not allowed: expected .*resnet50x2"),
    ],
)
def test_unknown_and_mistyped_settings_are_refused(
    name: str, value: object, message: str, pretraining: Build
) -> None:
    with pytest.raises(UserError, match=message):
        pretraining("rekd", **{f"method_kwargs.{name}": value})


def test_the_projection_is_there_for_evaluation_only(pretraining: Build) -> None:
    method = pretraining("rekd")
    images = torch.randn(2, 3, 32, 32)
    assert "z" not in method(images)
    projected = method.eval()(images)["z"]
    assert projected.shape == (2, 8)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(2))


def test_momentum_has_the_hosts_defaults(compose: Build) -> None:
    from solo.args.pretrain import parse_cfg
    from solo.methods import METHODS

    cfg = parse_cfg(compose("rekd"))
    del cfg["momentum"]
    assert METHODS["rekd"](cfg).momentum_updater.base_tau == 0.99


def test_without_a_relation_it_is_the_hosts_moco(pretraining: Build) -> None:
    torch.manual_seed(0)
    moco = pretraining("mocov2plus")
    rekd = pretraining("rekd", **{"method_kwargs.relation_weight": 0})
    for name in ("backbone", "momentum_backbone", "classifier"):
        getattr(rekd, name).load_state_dict(getattr(moco, name).state_dict())
    for name in ("projector", "momentum_projector"):
        getattr(rekd.objective, name).load_state_dict(getattr(moco, name).state_dict())
    for view, queue in enumerate(rekd.objective.queues):
        queue["student"].copy_(moco.queue[view].T)
    batch = make_batch(torch.arange(8) % 3)

    moco_loss, _ = step(moco, batch)
    loss, logged = step(rekd, batch)
    teacher_terms = logged["train_teacher_nce_loss"] + logged["train_teacher_class_loss"]
    torch.testing.assert_close(loss - teacher_terms, moco_loss, rtol=0, atol=1e-6)
    for (name, ours), theirs in zip(
        rekd.backbone.named_parameters(), moco.backbone.parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("rekd", {"method_kwargs.dictionary": "teacher"}), ("seed", {}), ("compress", ONE_MEMORY)],
)
def test_a_method_that_reads_no_momentum_features_has_no_twin(
    recipe: str, settings: dict[str, Any], pretraining: Build
) -> None:
    method = pretraining(recipe, **settings, **{"knn_eval.enabled": False})
    assert not hasattr(method, "momentum_backbone")
    assert method.momentum_pairs == method.objective.momentum_pairs
    loss, _ = step(method, make_batch(torch.arange(8) % 3))
    assert loss.isfinite()
    with torch.no_grad():
        images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
        metrics = method.eval().validation_step([images, labels], 0)
    assert metrics["val_loss"].isfinite()
    assert not [name for name in metrics if name.startswith("momentum")]


def test_a_momentum_classifier_keeps_the_twin(pretraining: Build) -> None:
    method = pretraining("seed", **{"+momentum.classifier": True, "knn_eval.enabled": False})
    _, logged = step(method, make_batch(torch.arange(8) % 3))
    assert "train_momentum_acc1" in logged
    assert method.momentum_classifier.weight.grad.any()


@pytest.mark.parametrize("recipe", ["rekd", "seed", "compress", "disco", "crcd"])
def test_no_step_waits_for_the_device(recipe: str, pretraining: Build) -> None:
    method = pretraining(recipe, **{"knn_eval.enabled": False})
    for number in range(6):
        batch = make_batch(torch.arange(8) % 3)
        with NoWaits() if number == 5 else nullcontext():
            step(method, batch)


def test_the_images_places_stay_in_the_hosts_memory(pretraining: Build) -> None:
    method = pretraining("seed", **{"knn_eval.enabled": False})
    batch = make_batch(torch.arange(8) % 3)
    moved = method.train().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved[0].tensor is batch[0]
    assert [view.device.type for view in (*moved[1], moved[2])] == ["meta"] * 3
    losses = [step(method, [places, *batch[1:]])[0] for places in (batch[0], moved[0])]
    assert all(loss.isfinite() for loss in losses)
    same = method.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert same[0] is batch[0]
    validation = [batch[1][0], batch[2]]
    moved = method.eval().transfer_batch_to_device(validation, torch.device("meta"), 0)
    assert [each.device.type for each in moved] == ["meta"] * 2


def test_a_step_without_labels_is_finite_and_reaches_every_parameter(pretraining: Build) -> None:
    method = pretraining("rekd", **{"knn_eval.enabled": False})
    loss, logged = step(method, make_batch(torch.full((8,), -1)))
    assert loss.isfinite()
    assert "train_relation_purity" not in logged
    for group in method.learnable_params:
        for parameter in group["params"]:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), group["name"]


# What a process of the other host does: the same method, from weights and batches in a file.
OTHER_HOST = """
import sys, torch
from solo_rekd import hosts
assert hosts.detect() == "classic"
hosts.activate()
from solo.methods import METHODS
given = torch.load(sys.argv[1], weights_only=True)
settings = dict(
    encoder="alexnet", num_classes=3, backbone_args={}, max_epochs=1, batch_size=8, crop_size=[32],
    optimizer="sgd", lars=False, lr=0.1, weight_decay=0, classifier_lr=0.1,
    exclude_bias_n_norm=False, accumulate_grad_batches=1, extra_optimizer_args={},
    scheduler="none", min_lr=0, warmup_start_lr=0, warmup_epochs=0, num_large_crops=2,
    num_small_crops=0, base_tau_momentum=0.99, final_tau_momentum=1.0, momentum_classifier=False,
)
method = METHODS["rekd"](**settings, **given["method_kwargs"])
state = {
    name.replace("momentum_backbone.", "momentum_encoder.").replace("backbone.", "encoder.", 1)
    if not name.startswith("objective.") else name: value
    for name, value in given["state"].items()
}
method.load_state_dict(state)
method.log = method.log_dict = lambda *args, **kwargs: None
method.train()
losses = []
for batch in given["batches"]:
    method.zero_grad()
    losses.append(method.training_step(batch, 0))
    losses[-1].backward()
torch.save(
    {
        "losses": torch.stack(losses).detach(),
        "gradients": [p.grad for p in method.encoder.parameters()],
        "projector": [p.grad for p in method.objective.projector.parameters()],
        "teacher": [p.grad for p in method.objective.teacher.backbone.parameters()],
    },
    sys.argv[2],
)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread: the sums of several come in another order each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_both_hosts_agree(pretraining: Build, tmp_path: Path, one_thread: None) -> None:
    torch.manual_seed(0)
    method = pretraining("rekd")
    batches = [make_batch(torch.arange(8) % 3) for _ in range(5)]  # three fill the queue
    given = {
        "state": method.state_dict(),
        "batches": batches,
        "method_kwargs": OmegaConf.to_container(method.cfg.method_kwargs),
    }
    torch.save(given, tmp_path / "given.pt")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", OTHER_HOST, tmp_path / "given.pt", tmp_path / "found.pt"],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = torch.load(tmp_path / "found.pt", weights_only=True)

    losses = []
    for batch in batches:
        method.zero_grad()
        loss, logged = step(method, batch)
        losses.append(loss.detach())
    assert "train_relation_loss" in logged  # the bank has started: the relation is compared too
    torch.testing.assert_close(torch.stack(losses), theirs["losses"], rtol=1e-6, atol=0)
    ours = {
        "gradients": [p.grad for p in method.backbone.parameters()],
        "projector": [p.grad for p in method.objective.projector.parameters()],
        "teacher": [p.grad for p in method.objective.teacher.backbone.parameters()],
    }
    for part, gradients in ours.items():
        torch.testing.assert_close(gradients, theirs[part], rtol=0, atol=3e-6, msg=part)
