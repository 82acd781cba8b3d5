"""The teacher of the classic host's runs sees the student's images with its own mean and size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms.functional import normalize

from solo_rekd.backbones import build_backbone
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SEEN = ("stem", "mean", "std", "size")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The flags of a frozen teacher whose file is as torchvision publishes it."""
    path = tmp_path_factory.mktemp("teacher") / "resnet18.pth"
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    flags = {"teacher": "resnet18", "teacher_mode": "frozen", "teacher_checkpoint": path}
    return flags | {"proj_output_dim": 512, "limit_val_batches": 0, "limit_train_batches": 2}


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.5, 0.5),
        ({"mean": "0.1 0.2 0.3", "std": "0.4 0.2 0.3"}, 0.1, 0.4),
        ({"dataset": "cifar10"}, 0.4914, 0.247),  # the host's own
        ({"dataset": "stl10", "crop_size": 96}, 0.4914, 0.247),
        ({"dataset": "imagenet"}, 0.485, 0.228),
    ],
)
def test_an_objective_knows_the_colours_of_its_views(
    changes: dict[str, Any], mean: float, std: float, host: Any, flags: Callable[..., list[str]]
) -> None:
    args = host.parse_pretrain(flags("pretrain", method="rekd", **changes))
    run = host.METHODS["rekd"](**vars(args)).objective.run
    assert (run.mean[0], run.std[0]) == pytest.approx((mean, std))


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_its_features_are_those_of_its_own_preprocessing(
    mode: str, host: Any, flags: Callable[..., list[str]], teacher: dict[str, Any]
) -> None:
    changes = teacher | {"teacher_mode": mode, "teacher_size": 64, "dataset": "cifar10"}
    args = host.parse_pretrain(flags("pretrain", method="seed", **changes))
    objective = host.METHODS["seed"](**vars(args)).objective.eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8) / 255
    views = normalize(pixels, objective.run.mean, objective.run.std)
    own = normalize(interpolate(pixels, (64, 64), mode="bicubic", antialias=True), *IMAGENET)
    alone = build_backbone("resnet18", 224).eval()
    alone.load_state_dict(torch.load(teacher["teacher_checkpoint"], weights_only=True))
    with torch.no_grad():
        told = objective.teacher(views) if mode == "frozen" else objective.teacher.key(views)
        torch.testing.assert_close(told[0], alone(own), rtol=1e-5, atol=1e-5)


def test_a_run_records_what_its_teacher_sees_and_resumes_with_the_same_alone(
    train: Train, teacher: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = teacher | {"teacher_mean": "0.1 0.2 0.3", "teacher_std": 0.25, "teacher_size": 48}
    run = train("seed", **given)
    checkpoint = torch.load(run["checkpoint"], weights_only=True)
    record = checkpoint["solo_rekd"]["teacher"]
    assert [record[key] for key in SEEN] == ["imagenet", [0.1, 0.2, 0.3], [0.25] * 3, 48]
    resumes = {"resume_from_checkpoint": run["checkpoint"], "max_epochs": 2}
    train("seed", **given, **resumes)
    for changes, told in (
        ({"teacher_mean": 0.5}, r"^teacher_mean=\[0.5.* had teacher_mean=\[0.1"),
        ({"teacher_std": "auto"}, r"^teacher_std=\[0.229"),
        ({"teacher_size": "auto"}, "^teacher_size=32 .* teacher_size=48"),
    ):
        with pytest.raises(UserError, match=told):
            train("seed", **given | changes, **resumes)


def test_a_run_of_an_earlier_version_resumes_with_the_student_s_views(
    train: Train, teacher: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = torch.load(train("seed", **teacher)["checkpoint"], weights_only=True)
    record = checkpoint["solo_rekd"]
    for name in SEEN:
        del record["teacher"][name]
        record["settings"].pop(f"teacher_{name}", None)
    record["settings"]["teacher_stem"] = "auto"
    torch.save(checkpoint, older := tmp_path / "older.ckpt")
    run = train("seed", **teacher, resume_from_checkpoint=older, max_epochs=2)
    assert "earlier version" in caplog.text
    seen = torch.load(run["checkpoint"], weights_only=True)["solo_rekd"]["teacher"]
    assert [seen[key] for key in SEEN] == ["imagenet", [0.5] * 3, [0.5] * 3, 32]
    with pytest.raises(UserError, match=r"^teacher_mean=.* differs from the run to resume"):
        train("seed", **teacher, teacher_size=48, resume_from_checkpoint=older, max_epochs=2)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("teacher_size", "huge", "auto, native"),
        ("teacher_size", "0", "of 1 or more"),
        ("teacher_mean", "127 127 127", "three numbers from 0 to 1"),
        ("teacher_std", "0.5 0.5", "three numbers"),
    ],
)
def test_values_that_are_none_are_refused(
    name: str, value: str, allowed: str, train: Train, teacher: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=f"^{name}=.* is not allowed: expected .*{allowed}"):
        train("seed", **teacher, **{name: value})


def test_bags_are_found_as_the_teacher_sees_the_images(
    train: Train, teacher: dict[str, Any], tmp_path: Path
) -> None:
    bags = {"bag_size": 2, "teacher_cache": tmp_path}
    for changes in ({}, {}, {"teacher_size": 48}, {"teacher_mean": 0.5}):
        train("bingo", **teacher, **bags, **changes)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3  # the second run found the first's
