from typing import Any

import pytest

from solo_rekd.distilling.choices import GIVEN, Facts, choose

SMALL = Facts(photos=900, side=32, student="mobilenet_v3_small", width=2048, cores=2, disk=2**40)
LARGE = SMALL._replace(
    photos=1_000_000,
    side=480,
    teacher_side=224,
    cores=32,
    gpu="NVIDIA H100",
    gpu_memory=80 * 2**30,
    bf16=True,
)
CASES: list[tuple[Facts, dict[str, Any]]] = [
    (
        SMALL,
        {
            "method": "rekd",
            "crop_size": 32,
            "teacher_size": 32,
            "device": "cpu",
            "batch_size": 64,
            "epochs": 200,
            "lr": 0.1,
            "queue_size": 256,
            "precision": "32",
            "memory_format": "auto",
            "workers": 2,
            "drawn_views": 16,
        },
    ),
    (
        LARGE,
        {
            "crop_size": 224,
            "teacher_size": 224,
            "device": "gpu",
            "batch_size": 256,
            "epochs": 10,
            "queue_size": 65_536,
            "precision": "bf16",
            "workers": 16,
            "drawn_views": 0,
        },
    ),
    # a file tells at which size its network was trained
    (SMALL._replace(teacher_side=224), {"crop_size": 32, "teacher_size": 224}),
    (SMALL._replace(side=100), {"crop_size": 96}),
    (SMALL._replace(side=64), {"crop_size": 64}),
    (SMALL._replace(side=65), {"crop_size": 64}),
    (SMALL._replace(side=223), {"crop_size": 192}),
    # few photos
    (SMALL._replace(photos=36), {"batch_size": 2, "epochs": 200}),
    (SMALL._replace(photos=2), {"batch_size": 2}),
    (SMALL._replace(photos=100), {"batch_size": 8}),
    (SMALL._replace(photos=50_000), {"epochs": 40, "batch_size": 64}),
    # wide embeddings do not fill the memory with keys
    (LARGE._replace(width=65_536), {"queue_size": 2_048}),
    # other GPUs
    (LARGE._replace(gpu_memory=8 * 2**30), {"batch_size": 128}),
    (LARGE._replace(bf16=False), {"precision": "16"}),
    # other students
    (SMALL._replace(student="alexnet"), {"lr": 0.03}),
    (SMALL._replace(student="timm:mobilenetv3_small_100"), {"lr": 0.03}),
    (SMALL._replace(student="efficientnet_b0"), {"lr": 0.1}),
    # a budget
    (SMALL._replace(hours=1, affordable=7, speed=90), {"epochs": 7, "drawn_views": 0}),
    (SMALL._replace(hours=1, affordable=0, speed=90), {"epochs": 1}),
    # views that no epoch repeats, or that no disk holds
    (SMALL._replace(photos=1_000_000, disk=2**50), {"drawn_views": 0}),
    (SMALL._replace(disk=2**20), {"drawn_views": 0}),
]


@pytest.mark.parametrize(("facts", "expected"), CASES)
def test_what_is_chosen(facts: Facts, expected: dict[str, Any]) -> None:
    made = choose(facts, {})
    values = {choice.name: choice.value for choice in made}
    assert {name: values[name] for name in expected} == expected
    assert all(choice.reason and choice.reason != GIVEN for choice in made)


def test_what_is_given_is_taken_and_said_and_others_follow_it() -> None:
    given = {"method": "seed", "batch_size": 16, "crop_size": 64, "epochs": 3, "workers": 0}
    made = {choice.name: choice for choice in choose(SMALL, given)}
    assert {name: made[name].value for name in given} == given
    assert {made[name].reason for name in given} == {GIVEN}
    assert made["teacher_size"].value == 64  # the student's
    assert made["queue_size"].value == 256  # of 2,700 photos seen, a tenth
    assert made["drawn_views"].value == 0  # three epochs show no view twice
    # a device that is given decides the precision
    on_cpu = {choice.name: choice.value for choice in choose(LARGE, {"device": "cpu"})}
    assert (on_cpu["precision"], on_cpu["batch_size"]) == ("32", 64)


def test_a_budget_that_does_not_fit_one_epoch_says_so() -> None:
    made = {c.name: c for c in choose(SMALL._replace(hours=0.5, affordable=0, speed=9), {})}
    assert "minimum" in made["epochs"].reason and "0.5 h" in made["epochs"].reason
