"""The teacher of the current host's runs sees the student's images with its own mean and size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms.functional import normalize

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

import solo.methods

from solo_rekd.backbones import build_backbone
from solo_rekd.hosts.current.host import connect
from solo_rekd.hosts.jobs import Images, LinearEvaluation, Network, Optimizer, Progress
from solo_rekd.utils.errors import UserError

Build = Callable[..., Any]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SEEN = ("stem", "mean", "std", "size")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a frozen teacher whose file is as torchvision publishes it."""
    path = tmp_path_factory.mktemp("teacher") / "resnet18.pth"
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    given = {"teacher": "resnet18", "teacher_mode": "frozen", "teacher_checkpoint": path}
    given["proj_output_dim"] = 512  # type: ignore[assignment]
    return {f"method_kwargs.{name}": value for name, value in given.items()}


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_its_features_are_those_of_its_own_preprocessing(
    mode: str, pretraining: Build, teacher: dict[str, Any]
) -> None:
    asked = {"method_kwargs.teacher_mode": mode, "method_kwargs.teacher_size": 64}
    changes = teacher | asked | {"data.dataset": "cifar100"}  # whose numbers are the host's own
    objective = pretraining("seed", **changes).objective.eval()
    assert objective.run.mean == (0.5071, 0.4865, 0.4409)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8) / 255
    views = normalize(pixels, objective.run.mean, objective.run.std)
    own = normalize(interpolate(pixels, (64, 64), mode="bicubic", antialias=True), *IMAGENET)
    alone = build_backbone("resnet18", 224).eval()
    path = teacher["method_kwargs.teacher_checkpoint"]
    alone.load_state_dict(torch.load(path, weights_only=True))
    with torch.no_grad():
        told = objective.teacher(views) if mode == "frozen" else objective.teacher.key(views)
        torch.testing.assert_close(told[0], alone(own), rtol=1e-5, atol=1e-5)


def test_hydra_words_are_read(pretraining: Build, teacher: dict[str, Any]) -> None:
    words = {"teacher_mean": "[0.1,0.2,0.3]", "teacher_std": 0.25, "teacher_size": "native"}
    changes = {f"method_kwargs.{name}": value for name, value in words.items()}
    identity = pretraining("seed", **teacher, **changes).objective.teacher.identity
    assert [identity[key] for key in SEEN] == ["imagenet", [0.1, 0.2, 0.3], [0.25] * 3, 224]
    with pytest.raises(UserError, match=r"^teacher_size='huge' is not .* native"):
        pretraining("seed", **teacher | {"method_kwargs.teacher_size": "huge"})


@pytest.mark.slow
def test_a_run_records_what_its_teacher_sees_and_resumes_with_the_same_alone(
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    teacher: dict[str, Any],
    tmp_path: Path,
) -> None:
    asked = {"method_kwargs.teacher_mean": "[0.1,0.2,0.3]", "method_kwargs.teacher_size": 48}
    changes = teacher | asked | {"+limit_train_batches": 2, "scheduler.name": "none"}
    run_script("main_pretrain.py", *arguments("seed", **changes))
    (checkpoint,) = tmp_path.glob("trained_models/seed/*/*.ckpt")
    held = torch.load(checkpoint, weights_only=True)
    record = held["solo_rekd"]["teacher"]
    assert [record[key] for key in SEEN] == ["imagenet", [0.1, 0.2, 0.3], [*IMAGENET[1]], 48]
    resumes = {"+resume_from_checkpoint": f"'{checkpoint}'", "max_epochs": 2}
    other = changes | resumes | {"method_kwargs.teacher_size": 32}
    assert "teacher_size" in run_script("main_pretrain.py", *arguments("seed", **other), code=2)
    run_script("main_pretrain.py", *arguments("seed", **changes, **resumes))
    # a checkpoint of an earlier version, whose teachers saw as the student
    for name in SEEN:
        del held["solo_rekd"]["teacher"][name]
        held["solo_rekd"]["settings"]["method_kwargs"].pop(f"teacher_{name}", None)
    held["solo_rekd"]["settings"]["method_kwargs"]["teacher_stem"] = "auto"
    torch.save(held, older := tmp_path / "older.ckpt")
    plain = teacher | {"+limit_train_batches": 2, "scheduler.name": "none"}
    plain |= {"+resume_from_checkpoint": older, "max_epochs": 2}
    said = run_script("main_pretrain.py", *arguments("seed", **plain))
    assert "earlier version" not in said  # the main branch's student has ImageNet's numbers


def test_an_evaluation_resizes_the_crops_for_the_network(data: Path, tmp_path: Path) -> None:
    # a ViT takes no other size than that for which it is built
    name = "timm:vit_tiny_patch16_224"
    state = build_backbone(name, 64).state_dict()
    tensors = {f"backbone.{key}": value for key, value in state.items()}
    tensors["classifier.weight"] = torch.zeros(3, 192)
    torch.save({"state_dict": tensors}, path := tmp_path / "vit.ckpt")
    colours = (0.5, 0.5, 0.5)
    images = Images(f"{data}/train", f"{data}/val", 32, colours, colours, workers=0, resize_to=64)
    optimizer = Optimizer("sgd", 0.01, weight_decay=0.0, schedule="cosine")
    job = LinearEvaluation(str(path), Network(name), images, optimizer, 8, 1)
    host = connect(Path(solo.methods.__file__).parents[2])
    assert 0 <= host.linear(job, None, Progress()).top1 <= 100
    assert "data.augmentations.resize_to=64" in host.command(job)
