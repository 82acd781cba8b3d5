import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from solo_rekd import hosts
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
LOSSES = ("train_relation_loss", "train_class_loss")
RELATION = (
    "train_positives_per_query",
    "train_active_prototypes",
    "train_assignment_entropy",
    "train_relation_purity",
)


def read(run: dict[str, Any]) -> dict[str, Any]:
    return torch.load(run["checkpoint"], weights_only=True)


def assert_finite(state: dict[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    assert not bad


def test_a_second_activation_changes_nothing(host: ModuleType) -> None:
    import pytorch_lightning as pl
    from solo.args import setup
    from solo.methods import METHODS, base
    from solo.utils import backbones, knn, metrics
    from torchmetrics import Metric

    def host_now() -> list[Any]:
        return [
            dict(METHODS),
            setup.parse_args_pretrain,
            setup.parse_args_linear,
            base.BaseMethod.__init__,
            list(base.BaseMethod._SUPPORTED_ENCODERS),
            base.BaseMomentumMethod.on_train_batch_end,
            base.accuracy_at_k,
            backbones.vit_tiny,
            knn.WeightedKNNClassifier.forward,
            metrics.accuracy_at_k,
            Metric.__init__,
            pl.Trainer.add_argparse_args,
            pl.Trainer.from_argparse_args,
        ]

    before = host_now()
    hosts.activate()
    assert host_now() == before


def test_registers_beside_the_methods_of_the_host(host: ModuleType) -> None:
    from solo.methods import METHODS, MoCoV2Plus
    from solo.methods.base import BaseMomentumMethod

    assert issubclass(METHODS["rekd"], BaseMomentumMethod)
    assert METHODS["rekd"].__name__ == "ReKD"
    assert METHODS["mocov2plus"] is MoCoV2Plus


def test_without_the_host_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps solo-learn==1\.0\.2"):
        hosts.activate()


def test_online_teacher_logs_every_metric(online: dict[str, Any]) -> None:
    metrics = online["metrics"]
    for name in (*LOSSES, *RELATION, "train_teacher_nce_loss", "train_teacher_acc1", "val_acc1"):
        assert math.isfinite(metrics[name]), name
    assert metrics["train_teacher_nce_loss"] > 0
    assert 0 < metrics["train_positives_per_query_step"] <= 24
    assert 1 <= metrics["train_active_prototypes_step"] <= 4
    assert 0 <= metrics["train_assignment_entropy_step"] <= math.log(4) + 1e-6
    assert 0 < metrics["train_relation_purity_step"] <= 1


def test_without_a_relation_yet_logs_plain_infonce(train: Train) -> None:
    metrics = train("rekd", queue_size=64, limit_train_batches=2, limit_val_batches=0)["metrics"]
    assert metrics["train_nce_loss"] > 0
    assert "train_relation_loss" not in metrics


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_run_that_is_too_short_for_its_relation_says_so(
    warmup: int, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train("rekd", teacher_warmup_epochs=warmup)
    said = "the relation will not count in this run of rekd: it has 1 epochs" in caplog.text
    assert said == (warmup == 1)


def test_online_teacher_is_trained_and_saved(online: dict[str, Any]) -> None:
    checkpoint = read(online)
    state = checkpoint["state_dict"]
    record = checkpoint["solo_rekd"]
    assert record["method"] == "rekd"
    assert record["teacher"] == {
        "mode": "online", "name": "timm:resnet10t", "checkpoint": None, "sha256": None,
        "stem": "auto", "mean": [0.5] * 3, "std": [0.5] * 3, "size": 32,
    }  # fmt: skip
    assert_finite(state)
    for part in ("backbone", "projector"):
        trained = {k: v for k, v in state.items() if k.startswith(f"objective.teacher.{part}.")}
        twins = [state[k.replace(f".{part}.", f".momentum_{part}.", 1)] for k in trained]
        assert trained
        # the twin follows after each step, so it only equals what was never trained
        assert any(
            not torch.equal(v, twin) for v, twin in zip(trained.values(), twins, strict=True)
        )
    assert int(state["objective.queues.0.seen"]) == 48


def test_every_twin_follows(train: Train) -> None:
    at_once = {"base_tau_momentum": 0, "final_tau_momentum": 0}
    run = train("rekd", **at_once, limit_train_batches=1, limit_val_batches=0)
    state = read(run)["state_dict"]
    for part in (
        "{}encoder.features.0.weight",
        "objective.{}projector.0.weight",
        "objective.teacher.{}projector.0.weight",
        "objective.teacher.{}backbone.layer1.0.conv1.weight",
    ):
        assert torch.equal(state[part.format("")], state[part.format("momentum_")]), part


def test_frozen_teacher_is_in_no_checkpoint_but_named(
    frozen: dict[str, Any], moco: dict[str, Any]
) -> None:
    checkpoint = read(frozen)
    teacher_file = Path(moco["checkpoint"])
    assert checkpoint["solo_rekd"]["teacher"] == {
        "mode": "frozen",
        "name": "resnet18",
        "checkpoint": str(teacher_file),
        "sha256": hashlib.sha256(teacher_file.read_bytes()).hexdigest(),
        "stem": "imagenet",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "size": 32,
    }
    assert not [name for name in checkpoint["state_dict"] if name.startswith("objective.teacher.")]
    assert_finite(checkpoint["state_dict"])
    metrics = frozen["metrics"]
    for name in (*LOSSES, "train_relation_purity", "train_teacher_acc1"):
        assert math.isfinite(metrics[name]), name
    assert "train_teacher_nce_loss" not in metrics


@pytest.mark.parametrize("run", ["online", "frozen"])
def test_resumes(
    run: str, request: pytest.FixtureRequest, train: Train, frozen_teacher: dict[str, Any]
) -> None:
    first = request.getfixturevalue(run)
    teacher = frozen_teacher if run == "frozen" else {}
    settings = {"max_epochs": 2, "limit_val_batches": 0}
    second = train("rekd", **teacher, **settings, resume_from_checkpoint=first["checkpoint"])
    checkpoint = read(second)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 12)
    assert int(checkpoint["state_dict"]["objective.queues.0.seen"]) == 96
    # of this run's 48 images, not of both runs' 96
    assert second["images_per_second"] * second["seconds"] == pytest.approx(48)


def test_resuming_with_other_weights_of_the_teacher_is_refused(
    train: Train, frozen: dict[str, Any], frozen_teacher: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = torch.load(frozen_teacher["teacher_checkpoint"], weights_only=True)
    checkpoint["state_dict"]["encoder.conv1.weight"] += 1
    other = tmp_path / "other.ckpt"
    torch.save(checkpoint, other)
    teacher = frozen_teacher | {"teacher_checkpoint": other}
    with pytest.raises(UserError, match=r"^teacher sha256='\w{64}' differs from .*\w{64}"):
        train("rekd", **teacher, resume_from_checkpoint=frozen["checkpoint"])


def test_resuming_with_other_sizes_is_refused(train: Train, online: dict[str, Any]) -> None:
    settings = {"queue_size": 32, "max_epochs": 2, "resume_from_checkpoint": online["checkpoint"]}
    with pytest.raises(
        UserError, match=r"^objective.queues\S+ has shape \(24,.* \(32.* in this run"
    ):
        train("rekd", **settings)


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        ("frozen", {"teacher_mode": "online"}, "mode='online' differs from .* mode='frozen'"),
        ("online", {}, "mode='frozen' differs from .* mode='online'"),
        ("moco", {}, "from mocov2plus, but this run is rekd"),
    ],
)
def test_resuming_another_run_is_refused(
    start: str,
    changes: dict[str, Any],
    message: str,
    train: Train,
    frozen_teacher: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    checkpoint = request.getfixturevalue(start)["checkpoint"]
    changes = frozen_teacher | changes
    if start == "online":  # the same backbone, so that only the mode differs
        changes |= {"teacher": "timm:resnet10t", "teacher_checkpoint": resnet10t(checkpoint)}
    with pytest.raises(UserError, match=message) as caught:
        train("rekd", **changes, proj_output_dim=8, resume_from_checkpoint=checkpoint)
    assert "\n" not in str(caught.value)


def resnet10t(checkpoint: str) -> str:
    """Writes the online teacher of a run as a file of its own."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    prefix = "objective.teacher."
    parts = {"backbone.": "encoder.", "projector.": "projector."}
    renamed = {
        new + name.removeprefix(prefix + old): value
        for name, value in state.items()
        for old, new in parts.items()
        if name.startswith(prefix + old)
    }
    path = Path(checkpoint).with_suffix(".teacher.pt")
    torch.save({"state_dict": renamed}, path)
    return str(path)


def test_trains_on_images_without_labels(
    host: ModuleType, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, losses = host.METHODS["rekd"], []
    step = method.training_step

    def record(self: Any, *args: Any) -> torch.Tensor:
        losses.append(step(self, *args))
        return losses[-1]

    monkeypatch.setattr(method, "training_step", record)
    run = train("rekd", train_dir="flat", val_dir=None, no_labels=True)
    assert len(losses) == 6
    assert all(loss.isfinite() for loss in losses)
    state = read(run)["state_dict"]
    assert_finite(state)
    assert state["classifier.weight"].shape[0] == 1  # not one class a file, as the host counts
    assert math.isfinite(run["metrics"]["train_relation_loss"])
    assert "train_relation_purity" not in run["metrics"]
    assert "val_acc1" not in run["metrics"]


@pytest.mark.parametrize(("method", "setting"), [("rekd", "relation"), ("crcd", "gradient_task")])
def test_what_needs_labels_is_refused_without_them(
    method: str, setting: str, train: Train, frozen_teacher: dict[str, Any]
) -> None:
    unlabelled = {"train_dir": "flat", "val_dir": None, "no_labels": True}
    with pytest.raises(UserError, match=f"^{setting}=labels: the images have no labels$"):
        train(method, **frozen_teacher, **unlabelled, **{setting: "labels"})


@pytest.mark.parametrize(
    "crops",
    [
        {"num_crops_per_aug": 3},
        {"num_crops_per_aug": "1 1", "crop_size": "32 24"},
        {"num_crops_per_aug": "2 2", "crop_size": "32 24"},
    ],
)
def test_other_than_two_equal_crops_are_refused(crops: dict[str, Any], train: Train) -> None:
    with pytest.raises(UserError, match=r"^num_crops_per_aug=.* expected 2 crops of one size$"):
        train("rekd", **crops)
