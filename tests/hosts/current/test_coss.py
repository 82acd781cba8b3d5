"""CoSS in the current host: its batches come from the host's own loader, workers or not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.methods import METHODS

from solo_rekd.backbones import build_backbone
from solo_rekd.utils.errors import UserError


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ResNet-18's weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    return path


@pytest.fixture
def settings(teacher: Path, tmp_path: Path) -> dict[str, Any]:
    """A frozen teacher, and three neighbours out of seven."""
    return {
        "method_kwargs.teacher": "resnet18",
        "method_kwargs.teacher_checkpoint": teacher,
        "method_kwargs.teacher_cache": tmp_path / "cache",
        "method_kwargs.neighbours": 3,
        "method_kwargs.neighbour_pool": 7,
    }


# a start-up module, for every process of the host's script: it keeps what each batch held
WITNESS = """
import atexit, os, torch
from solo_rekd.hosts.shared.method import Distilled

places, found, step = [], {}, Distilled.training_step

def watch(self, batch, batch_idx):
    places.append(batch[0].tolist())
    found.update(rank=self.global_rank, members=self.objective.neighbours.members)
    return step(self, batch, batch_idx)

def save():
    if places:
        path = os.path.join(os.environ["WITNESS"], f"rank{found['rank']}.pt")
        torch.save({"places": places, "members": found["members"]}, path)

Distilled.training_step = watch
atexit.register(save)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "workers"),
    [
        (1, 2),
        pytest.param(2, 0, marks=pytest.mark.trial),
        pytest.param(1, 0, marks=pytest.mark.trial),
        pytest.param(2, 2, marks=pytest.mark.trial),
    ],
)
def test_the_first_epochs_batches_hold_neighbours_too(
    workers: int,
    processes: int,
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(WITNESS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'start'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("WITNESS", str(tmp_path))
    changes = {"data.num_workers": workers, "max_epochs": 2, "data.val_path": "null"}
    if processes == 2:
        changes |= {"devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    run_script("main_pretrain.py", *arguments("coss", **settings | changes))
    anchors = []
    for rank in range(processes):
        seen = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert len(seen["places"]) == 2 * 6 // processes
        for batch in seen["places"]:
            for start in (0, 4):
                anchor, *others = batch[start : start + 4]
                assert len({*others}) == 3 and {*others} <= {*seen["members"][anchor].tolist()}
        first = seen["places"][: 6 // processes]
        anchors += [place for batch in first for place in batch[::4]]
    assert len({*anchors}) == len(anchors) == 12


def test_dali_is_refused_in_one_line(compose: Callable[..., Any], settings: dict[str, Any]) -> None:
    by_dali = settings | {"data.format": "dali"}
    add = METHODS["coss"].add_and_assert_specific_cfg
    with pytest.raises(UserError, match=r"^neighbours=3 .* expected 0 with DALI, .* without DALI"):
        add(compose("coss", **by_dali))
    without = by_dali | {"method_kwargs.neighbours": 0}
    assert add(compose("coss", **without)).method_kwargs.neighbours == 0
