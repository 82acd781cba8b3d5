import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from solo_rekd.compare.arms import parse_arms
from solo_rekd.compare.plan import Plan
from solo_rekd.hosts.jobs import Host
from solo_rekd.objectives import OBJECTIVES

PLAN = Plan(
    title="Tiny",
    data="/nowhere",
    train_dir="train",
    val_dir="val",
    student="alexnet",
    stem="auto",
    teacher="resnet50",
    teacher_stem="auto",
    teacher_checkpoint=None,
    arms=parse_arms("mocov2plus,rekd+teacher_mode=online,disco"),
    seeds=2,
    epochs=20,
    teacher_epochs=30,
    crop_size=32,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.2),
    batch_size=8,
    lr=0.3,
    weight_decay=1e-4,
    queue_size=128,
    linear_epochs=5,
    linear_lr=0.1,
    knn_k=7,
    knn_temperature=0.1,
    num_workers=0,
    extra=(),
    host="classic",
    images="48 + 24, sha256 0123456789ab",
)
HEAD = ("proj_hidden_dim", "proj_output_dim", "temperature")
# of a host, as far as the tests need them; `hosts.find("classic").methods()` has them all
METHODS: Mapping[str, Collection[str]] = {
    "mocov2plus": (*HEAD, "queue_size"),
    "simclr": HEAD,
    "byol": ("proj_hidden_dim", "proj_output_dim", "pred_hidden_dim"),
    **{
        name: [field.name for field in dataclasses.fields(objective.config_class)]
        for name, objective in OBJECTIVES.items()
    },
}


class NamesOnly:
    """What a comparison asks of a host before it gives it a job."""

    name, root = "classic", Path("/host")

    def methods(self) -> Mapping[str, Collection[str]]:
        return METHODS


@pytest.fixture(scope="session")
def methods() -> Mapping[str, Collection[str]]:
    """The methods of a host, each with the settings that it takes."""
    return METHODS


@pytest.fixture(scope="session")
def names_only() -> Any:
    """A host that has methods and does no job."""
    return NamesOnly()


@pytest.fixture
def classic() -> Host:
    """The classic host."""
    from solo_rekd import hosts

    return hosts.find("classic")


@pytest.fixture(scope="session")
def plan() -> Callable[..., Plan]:
    """Makes a plan: plan(arms="simclr,rekd", epochs=1)."""

    def make(arms: str | None = None, **changes: Any) -> Plan:
        if arms is not None:
            changes["arms"] = parse_arms(arms)
        return replace(PLAN, **changes)

    return make


@pytest.fixture
def options(data: Path, tmp_path: Path) -> list[str]:
    """The options of a comparison of seconds, with a frozen teacher that it trains."""
    text = (
        f"--data {data} --out {tmp_path / 'out'} --student alexnet --teacher timm:resnet10t "
        "--epochs 1 --batch_size 8 --queue_size 24 --num_workers 0 --linear_epochs 1 --knn_k 5"
    )
    return text.split()
