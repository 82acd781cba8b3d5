"""A loop of one's own trains, to the bit, what the host trains on the same batches."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.datasets import ImageFolder

import solo_rekd
from solo_rekd.hosts.shared.method import Distilled
from solo_rekd.images.transforms import evaluation_pipeline
from solo_rekd.objectives import OBJECTIVES

Train = Callable[..., dict[str, Any]]
TEACHER = "timm:resnet10t"
SIDE, EPOCHS, CLASSES, GREY = 32, 2, 3, (0.5, 0.5, 0.5)
QUEUE = {"queue_size": 24, "proj_hidden_dim": 16}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rekd": ("rekd", "frozen", {}),
    "rekd by views": ("rekd", "frozen", {"relation_view": "views", "num_prototypes": 4}),
    "rekd, online, by images": ("rekd", "online", {"relation_view": "image", "num_prototypes": 4}),
    "rekd, online, from scratch": ("rekd", "scratch", {"teacher_warmup_epochs": 1}),
    "disco": ("disco", "frozen", {"teacher_probe": "on"}),
    "disco by images": ("disco", "frozen", {"teacher_view": "image"}),
    "seed": ("seed", "frozen", {}),
    "seed, online": ("seed", "online", {"teacher_lr": 0.5}),
    "compress": ("compress", "frozen", {}),
    "crcd": ("crcd", "frozen", {"finetune_share": 0.5}),
    "crcd by labels": ("crcd", "frozen", {"gradient_task": "labels"}),
    "bingo": ("bingo", "frozen", {}),
    "simreg": ("simreg", "frozen", {}),
    "coss": ("coss", "frozen", {"neighbours": 3}),
}
FAST = ("disco",)  # with a twin and a probe
# one of each objective with its own treatment of the batch; the rest are trials
SLOW = (
    "rekd, online, from scratch",
    "rekd by views",
    "crcd by labels",
    "compress",
    "bingo",
    "coss",
)


def how_often(case: str) -> list[pytest.MarkDecorator]:
    """When a case is tried: always, with the slow tests, or with the trials."""
    return [] if case in FAST else [pytest.mark.slow if case in SLOW else pytest.mark.trial]


def test_every_objective_is_tried() -> None:
    assert {name for name, _, _ in CASES.values()} == {*OBJECTIVES}


class Recorder:
    """Notes what a run of the host is given and says, step by step.

    Attributes:
        model: the host's method.
        start: the weights with which it began.
        optimizer: of all of them.
        batches: the epoch and the batch of each step.
        said: the objective's loss and logs at each step.
    """

    model: Any
    start: dict[str, Any]
    optimizer: torch.optim.Optimizer

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[Any] = []
        self.said: list[Any] = []
        begin, step = Distilled.on_fit_start, Distilled.training_step

        def note_start(model: Any) -> None:
            self.model = model
            self.start = {
                part: copy.deepcopy(getattr(model, part).state_dict())
                for part in ("encoder", "objective")
            }
            model.objective.register_forward_hook(lambda *call: self.said.append(call[2]))
            begin(model)

        def note_batch(model: Any, batch: Any, index: int) -> Any:
            self.optimizer = model.trainer.optimizers[0]  # the trainer is gone after its run
            self.batches.append((model.current_epoch, copy.deepcopy(batch)))
            return step(model, batch, index)

        monkeypatch.setattr(Distilled, "on_fit_start", note_start)
        monkeypatch.setattr(Distilled, "training_step", note_batch)


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("case", [pytest.param(each, marks=how_often(each)) for each in CASES])
def test_losses_and_weights_are_the_hosts(
    case: str, weights: Path, data: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, mode, settings = CASES[case]
    settings = QUEUE | {"teacher_probe": "off"} | settings
    if mode != "frozen":
        settings |= {"teacher_mode": "online", "proj_output_dim": 8}
    file = {} if mode == "scratch" else {"teacher_checkpoint": weights}
    flags = {"teacher_mode": "frozen", "proj_output_dim": 512} | settings | file
    recorder = Recorder(monkeypatch)
    rest = {"max_epochs": EPOCHS, "memory_format": "contiguous", "num_prototypes": None}
    rest |= {"teacher_warmup_epochs": None, "limit_val_batches": 0}
    train(method, **(rest | flags | {"teacher": TEACHER}))
    host = recorder.model

    plain = evaluation_pipeline(SIDE, GREY, GREY)["T_val"]
    needs_images = method in ("bingo", "coss") or "image" in case or case == "rekd"
    teacher = TEACHER if mode == "scratch" else solo_rekd.load_teacher(TEACHER, weights)
    objective = solo_rekd.make_objective(
        method,
        teacher=teacher,
        features_dim=host.features_dim,
        img_size=SIDE,
        max_epochs=EPOCHS,
        mean=GREY,
        std=GREY,
        num_classes=CLASSES,
        num_images=48,
        training_images=ImageFolder(data / "train", plain) if needs_images else None,
        base_momentum=host.momentum_updater.base_tau,
        final_momentum=host.momentum_updater.final_tau,
        **settings,
    )
    student = copy.deepcopy(host.encoder)
    student.load_state_dict(recorder.start["encoder"])
    objective.distillation.load_state_dict(recorder.start["objective"])
    twin = objective.momentum_twin(student)
    if method == "coss":
        objective.sampler(torch.utils.data.SequentialSampler(range(48)), 8)

    theirs = recorder.optimizer
    rates = {group["name"]: group["lr"] for group in theirs.param_groups if "name" in group}
    lr = theirs.param_groups[0]["lr"]
    groups = [{"params": student.parameters()}, *objective.param_groups(lr, rates["classifier"])]
    kept = ("momentum", "weight_decay", "nesterov", "dampening")
    optimizer = type(theirs)(groups, lr, **{key: theirs.defaults[key] for key in kept})
    assert len(recorder.batches) == EPOCHS * 6
    for step, (epoch, (places, views, labels)) in enumerate(recorder.batches):
        given: dict[str, Any] = {"indexes": places, "epoch": epoch}
        if twin is not None:
            with torch.no_grad():
                given["momentum_features"] = [twin(view) for view in views]
        features = [student(view) for view in views]
        loss, logs = objective(
            images=views,
            features=features,
            labels=labels,  # which rekd's queue remembers, whoever asks for them
            **{key: value for key, value in given.items() if key in objective.needs},
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.update_momentum(step / len(recorder.batches))
        loss_there, logs_there = recorder.said[step]
        assert torch.equal(loss, loss_there), step
        for name, value in logs.items():
            assert torch.equal(value, logs_there[name]), (step, name)

    assert_same(student, host.encoder)
    assert_same(objective.distillation, host.objective)
    assert (twin is None) == (not hasattr(host, "momentum_encoder"))
    if twin is not None:
        assert_same(twin, host.momentum_encoder)
