import errno
import importlib
import logging
import math
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from command import judge
from PIL import Image
from pytorch_lightning.plugins import MixedPrecisionPlugin
from pytorch_lightning.plugins.io import TorchCheckpointIO

from solo_rekd.backbones import build_backbone
from solo_rekd.hosts.shared.method import MIN_LOSS_SCALE
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]


@pytest.fixture
def checkpoint(online: dict[str, Any]) -> dict[str, str]:
    return {"pretrained_feature_extractor": online["checkpoint"]}


def features_of(folder: Path, encoder: torch.nn.Module) -> tuple[np.ndarray, list[str]]:
    """Unit features and classes, without the host or its loaders."""
    paths = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        features = encoder(images)
    return (features / features.norm(dim=1, keepdim=True)).numpy(), [p.parent.name for p in paths]


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (3, 0.5)])
def test_knn_is_right(
    k: int,
    temperature: float,
    host: ModuleType,
    flags: Flags,
    data: Path,
    checkpoint: dict[str, str],
) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    state = torch.load(checkpoint["pretrained_feature_extractor"], weights_only=True)["state_dict"]
    prefix = "encoder."
    encoder = build_backbone("alexnet", 32).eval()
    encoder.load_state_dict(
        {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    )
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / temperature)
    )
    reference.fit(*features_of(data / "train", encoder))
    expected = 100 * reference.score(*features_of(data / "val", encoder))

    result = judge(flags("knn", k=k, temperature=temperature, **checkpoint)).knn
    assert result["top1"] == pytest.approx(expected)
    assert result["top5"] == 100
    assert f"k {k}, temperature {temperature:g}" in result["protocol"]
    assert "32 px" in result["protocol"]


def test_knn_defaults_are_in_its_protocol(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    result = judge(flags("knn", **checkpoint)).knn
    assert "weighted kNN, cosine, k 20, temperature 0.07" in result["protocol"]


def test_knn_tells_how_many_neighbours_there_were(
    host: ModuleType, flags: Flags, data: Path, checkpoint: dict[str, str]
) -> None:
    images = sum(1 for _ in data.glob("train/*/*"))
    result = judge(flags("knn", k=images + 1, **checkpoint)).knn
    assert result["k"] == images
    assert f"k {images}," in result["protocol"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "^k=0 is not allowed: expected a number of 1 or more$"),
        ({"temperature": 0}, "^temperature=0.0 is not allowed: expected a number of 0.02 or more$"),
    ],
)
def test_knn_refuses_a_protocol_that_cannot_be(
    changes: dict[str, float],
    message: str,
    host: ModuleType,
    flags: Flags,
    checkpoint: dict[str, str],
) -> None:
    with pytest.raises(UserError, match=message):
        judge(flags("knn", **changes, **checkpoint))


def test_knn_refuses_different_classes(
    host: ModuleType, flags: Flags, data: Path, checkpoint: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"different classes: only one of them has c$"):
        judge(flags("knn", val_dir="two/val", **checkpoint))


@pytest.mark.parametrize("job", ["linear", "knn"])
def test_evaluation_needs_validation_images(
    job: str, host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"^--dataset custom needs --val_dir"):
        evaluate = judge if job == "knn" else host.linear
        evaluate(flags(job, val_dir=None, **checkpoint))


def test_training_refuses_different_classes(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"different classes: only one of them has c$"):
        host.linear(flags("linear", val_dir="two/val", **checkpoint))
    with pytest.raises(UserError, match=r"different classes: only one of them has c$"):
        host.pretrain(flags("pretrain", method="simclr", val_dir="two/val"))


def test_linear_reports_its_accuracy_and_protocol(
    host: ModuleType,
    flags: Flags,
    checkpoint: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "solo_rekd"):
        result = host.linear(flags("linear", max_epochs=2, lr=0.05, **checkpoint))
    assert 0 <= result["top1"] <= 100
    assert result["top5"] == 100
    for part in ("2 epochs", "sgd", "lr 0.05", "batch 8", "32 px", "last epoch"):
        assert part in result["protocol"]
    total = len(build_backbone("alexnet", 32).state_dict())
    assert f"alexnet: matched {total} of {total} backbone weights" in caplog.text


def test_linear_trains_the_classifier_on_unchanged_features(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str], tmp_path: Path
) -> None:
    host.linear(flags("linear", save_checkpoint=True, checkpoint_dir=tmp_path, **checkpoint))
    (saved,) = tmp_path.glob("linear/*/*.ckpt")
    trained = torch.load(saved, weights_only=True)["state_dict"]
    given = torch.load(checkpoint["pretrained_feature_extractor"], weights_only=True)["state_dict"]
    for name, value in trained.items():
        if name.startswith("backbone."):
            assert torch.equal(value, given[name.replace("backbone.", "encoder.", 1)]), name
    assert trained["classifier.weight"].shape == (3, 256)


def test_linear_refuses_weights_of_another_network(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    argv = flags("linear", encoder="mobilenet_v3_small", **checkpoint)
    with pytest.raises(UserError, match=r"pretrained_feature_extractor=.*mobilenet") as caught:
        host.linear(argv)
    assert "\n" not in str(caught.value)


def test_evaluation_sees_images_of_the_asked_size(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    for loader in host.classification_loaders(
        host.parse_linear(flags("linear", crop_size=48, **checkpoint))
    ):
        assert next(iter(loader))[0].shape == (8, 3, 48, 48)


def test_sides_that_the_host_fixes_are_told_as_they_are(host: ModuleType, flags: Flags) -> None:
    from solo.utils.classification_dataloader import prepare_transforms

    from solo_rekd.images.data_sets import FIXED_SIDES

    image = Image.new("RGB", (300, 300))
    assert {name: prepare_transforms(name)[0](image).shape[-1] for name in FIXED_SIDES} == (
        FIXED_SIDES
    )
    asked = {"crop_size": 48, "pretrained_feature_extractor": "student.ckpt"}
    for name, side in (FIXED_SIDES | {"custom": 48}).items():
        argv = flags("linear", dataset=name, **asked)
        args = host.parse(argv, host.setup.parse_args_linear.__wrapped__)
        assert host.arguments.complete_linear(args).crop_size == [side]


def test_the_seed_decides_the_run(host: ModuleType, flags: Flags) -> None:
    short = {"limit_train_batches": 1, "limit_val_batches": 0}

    def loss(**seed: int) -> float:
        run = host.pretrain(flags("pretrain", method="simclr", **short, **seed))
        assert run["checkpoint"] is None
        return run["metrics"]["train_nce_loss"]

    first = loss()
    assert math.isfinite(first)
    assert loss(seed=5) == first  # the host's
    assert loss(seed=6) != first


def test_command_line_is_given_back(host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "--flag"])
    with pytest.raises(KeyError), host.command_line(["a", "b"]):
        assert sys.argv == ["program", "a", "b"]
        raise KeyError
    assert sys.argv == ["program", "--flag"]


@pytest.mark.parametrize(
    ("dataset", "val_dir", "no_labels", "validates"),
    [
        ("custom", "val", False, True),
        ("custom", "val", True, False),
        ("custom", None, False, False),
        ("imagenet", None, False, False),
        ("cifar10", None, False, True),
        ("stl10", None, False, True),
    ],
)
def test_who_is_validated(
    dataset: str,
    val_dir: str | None,
    no_labels: bool,
    validates: bool,
    host: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders = importlib.import_module("solo_rekd.hosts.classic.loaders")
    monkeypatch.setattr(loaders, "classification_loaders", lambda args: ("train", "val"))
    args = Namespace(dataset=dataset, val_dir=val_dir, no_labels=no_labels)
    assert host.validation_loader(args) == ("val" if validates else None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "nothing"}, "^method='nothing' is not allowed: expected .*mocov2plus.*rekd"),
        ({"method": "linear"}, "^method='linear' is not allowed"),
        ({"data_dir": "/nowhere"}, "/nowhere/train"),
        ({"train_dir": None}, "--dataset custom needs --train_dir"),
        ({"val_dir": "nowhere"}, "nowhere"),
        ({"resume_from_checkpoint": "/nowhere/a.ckpt"}, "/nowhere/a.ckpt"),
        ({"teacher": "no_such_net"}, "^teacher='no_such_net' is not allowed: expected .*resnet18"),
        ({"teacher_mode": "frozen"}, "teacher_mode='frozen' needs teacher_checkpoint=PATH"),
        (
            {"teacher_mode": "frozen", "teacher_checkpoint": "/nowhere/t.pt"},
            "/nowhere/t.pt does not exist",
        ),
        ({"own_weight": 2}, "^own_weight=2.0 is not allowed: expected a number from 0 to 1"),
        ({"queue_size": 3}, "num_prototypes=4 is not allowed: expected at most queue_size=3"),
        ({"batch_size": 49}, "^batch_size=49 is not allowed: expected at most the number of train"),
        ({"checkpoint_frequency": 0}, "^checkpoint_frequency=0 is not allowed: expected a number"),
        ({"batch_size": 0}, "^batch_size=0 is not allowed: expected a number of 1 or more$"),
        ({"max_epochs": 0}, "^max_epochs=0 is not allowed"),
        ({"num_workers": -1}, "^num_workers=-1 is not allowed"),
        ({"lr": "-.5"}, "^lr=-0.5 is not allowed: expected a number of 0 or more$"),
        ({"lr": "nan"}, "^lr=nan is not allowed"),
        ({"lr": "fast"}, "argument --lr: invalid float value: 'fast'"),
        ({"crop_size": 0}, "^crop_size=0 is not allowed"),
        ({"mean": "123 116 103"}, "^mean=123 is not allowed: expected a number from 0 to 1$"),
        ({"std": "0 0 0"}, "^std=0 is not allowed: expected a number from 0.001 to 1$"),
        ({"min_scale": 2}, "^min_scale=2 is not allowed: expected a number from 0 to 1$"),
        ({"hue": 0.6}, "^hue=0.6 is not allowed: expected a number from 0 to 0.5$"),
        ({"seed": -1}, "^seed=-1 is not allowed: expected a whole number from 0"),
        ({"seed": 2**32}, "^seed=4294967296 is not allowed: expected a whole number from 0"),
    ],
)
def test_mistakes_are_told_in_one_line(
    changes: dict[str, Any], message: str, host: ModuleType, flags: Flags
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        host.pretrain(flags("pretrain", **({"method": "rekd"} | changes)))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error:.*resume_from_checkpoint")
@pytest.mark.parametrize("named", [True, False], ids=["resume", "auto_resume"])
def test_a_finished_run_that_is_resumed_has_nothing_to_do(
    named: bool, train: Train, tmp_path: Path
) -> None:
    folder = {"checkpoint_dir": tmp_path}
    first = train("simclr", auto_resume=True, **folder)["checkpoint"]
    again = {"resume_from_checkpoint": first} if named else {"auto_resume": True}
    assert train("simclr", **folder, **again)["checkpoint"] == first


def test_a_checkpoint_that_cannot_be_resumed_is_refused(
    host: ModuleType, flags: Flags, online: dict[str, Any], tmp_path: Path
) -> None:
    whole = Path(online["checkpoint"]).read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    for path, message in (
        (tmp_path / "half.ckpt", "half.ckpt is truncated or damaged$"),
        (online["checkpoint"], "^the checkpoint to resume is from rekd, but this run is simclr$"),
    ):
        with pytest.raises(UserError, match=message):
            host.pretrain(flags("pretrain", method="simclr", resume_from_checkpoint=path))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES])
def test_a_path_that_cannot_be_is_told_in_one_line(number: int, host: ModuleType) -> None:
    def job() -> dict[str, Any]:
        raise OSError(number, "no", "/a/path")

    with pytest.raises(UserError, match=r"^/a/path: no$"):
        host.mistakes_in_one_line(job)()


OTHERS = ["disco", "seed", "compress", "crcd", "mocov2plus"]


@pytest.mark.parametrize(
    "method", ["rekd", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_training_that_diverges_leaves_no_checkpoint(
    method: str,
    host: ModuleType,
    flags: Flags,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = {"lr": 1e30, "save_checkpoint": True, "checkpoint_dir": tmp_path, "max_epochs": 2}
    with pytest.raises(
        UserError, match=r"^the training diverged in epoch 1 \(.* not finite\): try"
    ):
        host.pretrain(flags("pretrain", method=method, **changes))
    assert not list(tmp_path.rglob("*.ckpt"))
    lost = re.findall(r"step \d+: The loss is not a finite number\. Try", caplog.text)
    assert len(lost) == (method != "mocov2plus")  # which is the host's own


@pytest.fixture
def float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers with the gradient scaler that Lightning gives them on a GPU; its scale is low."""
    build = pl.Trainer.from_argparse_args

    def with_scaler(args: Any, **kwargs: Any) -> pl.Trainer:
        scaler = torch.amp.GradScaler("cpu", init_scale=4 * MIN_LOSS_SCALE)
        return build(args, plugins=[MixedPrecisionPlugin("16", "cpu", scaler)], **kwargs)

    monkeypatch.setattr(pl.Trainer, "from_argparse_args", with_scaler)


@pytest.mark.trial
def test_float16_trains_on_past_a_key_that_it_cannot_hold(
    float16: None, host: ModuleType, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, losses = host.METHODS["rekd"], []
    step = method.training_step

    def overflow_once(self: Any, *args: Any) -> torch.Tensor:
        def overflow(head: Any, features: Any, embeddings: torch.Tensor) -> None:
            assert embeddings.dtype == torch.float16
            if len(losses) == 3:
                embeddings[2] = torch.inf

        handle = self.objective.momentum_projector.register_forward_hook(overflow)
        losses.append(step(self, *args))
        handle.remove()
        return losses[-1]

    monkeypatch.setattr(method, "training_step", overflow_once)
    run = train("rekd", limit_val_batches=0)
    assert len(losses) == 6 and all(loss.isfinite() for loss in losses)
    state = torch.load(run["checkpoint"], weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.trial
def test_a_float16_training_that_diverges_leaves_no_checkpoint(
    float16: None, host: ModuleType, flags: Flags, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = host.METHODS["rekd"]
    step = method.training_step
    monkeypatch.setattr(method, "training_step", lambda *args: step(*args) * torch.inf)
    with pytest.raises(UserError, match=r"diverged in epoch 1 \(hardly any step has finite grad"):
        host.pretrain(
            flags("pretrain", method="rekd", save_checkpoint=True, checkpoint_dir=tmp_path)
        )
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_linear_evaluation_that_diverges_has_no_accuracy(
    host: ModuleType, flags: Flags, checkpoint: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"diverged in epoch 1 \(classifier.weight is not finite\)"):
        host.linear(flags("linear", lr=1e38, max_epochs=2, **checkpoint))


def test_progress_counts_the_whole_run(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    run = train("simclr", enable_progress_bar=True, max_epochs=2, limit_train_batches=2)
    bar = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert any(line.startswith("simclr alexnet: 100%") and "4/4" in line for line in bar)
    assert run["images_per_second"] * run["seconds"] == pytest.approx(32)


@pytest.mark.parametrize("job", ["pretrain", "linear"])
def test_help_shows_our_flags_beside_the_hosts(
    job: str, host: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    method = ["--method", "rekd"] if job == "pretrain" else []
    with pytest.raises(SystemExit) as stopped:
        getattr(host, job)([*method, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for name in ("--seed SEED", "--stem {auto,small,imagenet}", "--data_dir DATA_DIR"):
        assert name in shown


def test_a_checkpoint_is_whole_or_not_there(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(self: Any, checkpoint: Any, path: Path, *args: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", fill_the_disk)
    with pytest.raises(OSError, match=r"No space left on device: .*-ep=0\.ckpt"):
        train("simclr", checkpoint_dir=tmp_path)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"batch_size": 64}, {"num_workers": 2}])
def test_linear_evaluation_judges_every_validation_image(
    changes: dict[str, Any], flags: Flags, host: ModuleType, online: dict[str, Any]
) -> None:
    # at learning rate 0 the classifier is the seed's, so that only the judging is compared
    kept = {"pretrained_feature_extractor": online["checkpoint"], "lr": 0}
    if changes.get("batch_size") == 64:  # the host drops a batch that is not full in training
        with pytest.raises(UserError, match=r"batch_size=64 .* number of training images"):
            host.linear(flags("linear", **kept, **changes))
        return
    found = host.linear(flags("linear", **kept, **changes))
    assert found["top1"] == pytest.approx(host.linear(flags("linear", **kept))["top1"], abs=1e-4)
    assert found["protocol"].endswith("last epoch")
