"""The frozen teacher of a comparison is judged as it sees the images in the arms."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms.functional import normalize

from solo_rekd.backbones import build_backbone
from solo_rekd.compare import checks
from solo_rekd.compare.arms import parse_arm
from solo_rekd.compare.jobs import linear_job, student_job
from solo_rekd.compare.plan import Plan, Run, check_same
from solo_rekd.compare.protocol import describe_protocol
from solo_rekd.compare.typed import knn_command
from solo_rekd.evaluation.features import judge_features
from solo_rekd.hosts.jobs import Host, Progress
from solo_rekd.utils.errors import UserError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ARMS = "disco+proj_output_dim=512,rekd+teacher_mode=online"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as torchvision publishes them."""
    path = tmp_path_factory.mktemp("teacher") / "resnet18.pth"
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    return path


@pytest.fixture
def settled(plan: Callable[..., Plan], data: Path, file: Path) -> Callable[..., Plan]:
    def settle(arms: str = ARMS, **changes: Any) -> Plan:
        given = {"teacher": "resnet18", "teacher_checkpoint": str(file), "data": str(data)}
        return checks.settle_teachers(plan(arms=arms, **given | changes))

    return settle


def test_a_file_tells_how_its_network_sees(settled: Callable[..., Plan], methods: Any) -> None:
    made = settled(teacher_size=64)
    assert (made.teacher_mean, made.teacher_std, made.teacher_size) == (*IMAGENET, 64)
    jobs = [student_job(made, Run(parse_arm(arm), 0), "t", methods) for arm in ARMS.split(",")]
    told = [job.settings.get("teacher_size") for job in jobs]
    assert told == [64, None]  # another teacher than the file's sees as the student
    assert jobs[0].settings["teacher_mean"] == IMAGENET[0]
    images = linear_job(made, 0, "t", of_teacher=True).images
    assert (images.mean, images.std, images.size, images.resize_to) == (*IMAGENET, 32, 64)
    images = linear_job(made, 0, "s").images
    assert (images.mean, images.size, images.resize_to) == (made.mean, 32, None)
    assert "--resize_to 64" in knn_command(linear_job(made, 0, "t", of_teacher=True), {})
    # which no host does with images that DALI has loaded
    by_dali = dataclasses.replace(made, dali="cpu")
    judged = [linear_job(by_dali, 0, "t", of_teacher=teacher).images for teacher in (True, False)]
    assert [images.dali for images in judged] == [None, "cpu"]
    assert settled(teacher_size="native").teacher_size == 224


def test_a_teacher_that_sees_as_the_student_leaves_the_plan_as_it_is(
    settled: Callable[..., Plan], tmp_path: Path
) -> None:
    made = settled(mean=IMAGENET[0], std=IMAGENET[1])
    assert {made.teacher_mean, made.teacher_std, made.teacher_size} == {"auto"}
    older = {name: value for name, value in made.to_json().items() if name[:9] != "teacher_m"}
    (tmp_path / "plan.json").write_text(json.dumps(older))
    check_same(made, tmp_path / "plan.json")
    other = settled(mean=IMAGENET[0], std=IMAGENET[1], teacher_size=64)
    with pytest.raises(UserError, match=r"^teacher_size=64 differs from 'auto'"):
        check_same(other, tmp_path / "plan.json")


def test_the_report_says_it(settled: Callable[..., Plan]) -> None:
    told = describe_protocol(settled(teacher_size=64), checks.Images(["a"], ["x"], ["y"]))
    assert "0.485" in str(told["frozen teacher sees"]) and "64 px" in str(
        told["frozen teacher sees"]
    )


def test_its_features_are_those_of_its_own_preprocessing(
    settled: Callable[..., Plan], data: Path, file: Path
) -> None:
    job = linear_job(settled(teacher_size=64), 0, str(file), of_teacher=True)
    votes = {"batch_size": 8, "k": 5, "temperature": 0.07}
    judged = judge_features(job.checkpoint, job.network, job.images, **votes)
    assert "resized to 64 px" in judged.knn["protocol"]
    paths = sorted((data / "val").glob("*/*.png"))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in paths]))
    pixels = pixels.permute(0, 3, 1, 2).float() / 255
    own = normalize(interpolate(pixels, (64, 64), mode="bicubic", antialias=True), *IMAGENET)
    alone = build_backbone("resnet18", 224).eval()
    alone.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        torch.testing.assert_close(judged.splits["val"].features, alone(own), rtol=1e-5, atol=1e-5)


def test_the_host_judges_it_so_too(
    settled: Callable[..., Plan], classic: Host, tmp_path: Path
) -> None:
    # a ViT takes no other size than that for which it is built
    name = "timm:vit_tiny_patch16_224"
    torch.save(build_backbone(name, 64).state_dict(), path := tmp_path / "vit.pth")
    made = settled(arms="disco+proj_output_dim=192", teacher=name, teacher_checkpoint=str(path),
                   teacher_size=64, linear_epochs=1, linear_lr=0.01)  # fmt: skip
    job = linear_job(made, 0, str(path), of_teacher=True)
    assert job.images.mean == (0.5,) * 3
    assert 0 <= classic.linear(job, None, Progress()).top1 <= 100
    assert "--resize_to 64" in classic.command(job)
