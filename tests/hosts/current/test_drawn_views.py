"""Views that are drawn once, in the current host's own script and loader."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.methods import METHODS

from solo_rekd.backbones import build_backbone
from solo_rekd.utils.errors import UserError

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
# a start-up module, for every process of the host's script: it keeps what each batch held
WITNESS = """
import atexit, os, torch
from solo_rekd.hosts.shared.method import Distilled

seen, found, step = [], {}, Distilled.training_step

def watch(self, batch, batch_idx):
    seen.append((batch[0].clone(), torch.stack(batch[1])))
    found["rank"] = self.global_rank
    self.objective.teacher.forward = None  # nobody asks it
    return step(self, batch, batch_idx)

def save():
    if seen:
        torch.save(seen, os.path.join(os.environ["WITNESS"], f"rank{found['rank']}.pt"))

Distilled.training_step = watch
atexit.register(save)
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """An untrained frozen ResNet-18, and four views of each image."""
    torch.manual_seed(0)
    path = tmp_path / "teacher.pt"
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    return {
        "method_kwargs.teacher": "resnet18",
        "method_kwargs.teacher_mode": "frozen",
        "method_kwargs.teacher_checkpoint": path,
        "method_kwargs.teacher_cache": tmp_path / "cache",
        "method_kwargs.drawn_views": 4,
    }


@pytest.fixture
def watch(
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Trains three epochs of 48 images by the host's script, whose batches the witness keeps."""
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(WITNESS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'start'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("WITNESS", str(tmp_path))

    def run(**changes: Any) -> None:
        common = {"data.val_path": "null", "method_kwargs.neighbours": 0, "max_epochs": 3}
        run_script("main_pretrain.py", *arguments("coss", **settings | common | changes))

    return run


def assert_views(folder: Path, rank: int, processes: int, epochs: list[int]) -> None:
    """Checks that each epoch of a process had its own two views, in every step."""
    files = map(load_file, (folder / "cache").iterdir())
    (pixels,) = (file["pixels"] for file in files if "pixels" in file)
    drawn = (pixels.float().div(255) - MEAN) / STD
    seen = torch.load(folder / f"rank{rank}.pt", weights_only=True)
    steps = 6 // processes
    assert len(seen) == len(epochs) * steps
    for step, (places, views) in enumerate(seen):
        first = 2 * epochs[step // steps] % 4
        for view in range(2):
            torch.testing.assert_close(views[view], drawn[places, first + view])


@pytest.mark.trial
@pytest.mark.parametrize("processes", [2, 1])
def test_every_epoch_takes_the_next_views_from_the_first_step_on(
    processes: int, watch: Callable[..., None], tmp_path: Path
) -> None:
    several = {"devices": 2, "strategy": "ddp", "accelerator": "cpu"} if processes == 2 else {}
    watch(**several, **{"data.num_workers": 2})
    for rank in range(processes):
        assert_views(tmp_path, rank, processes, [0, 1, 2])


@pytest.mark.trial
def test_a_resumed_run_has_its_own_epochs_views(watch: Callable[..., None], tmp_path: Path) -> None:
    watch(**{"checkpoint.frequency": 1, "+checkpoint.keep_prev": True})
    assert_views(tmp_path, 0, 1, [0, 1, 2])
    (first,) = tmp_path.glob("trained_models/coss/*/*ep=0.ckpt")
    watch(**{"+resume_from_checkpoint": f"'{first}'"})
    assert_views(tmp_path, 0, 1, [1, 2])


def test_dali_is_refused_in_one_line(compose: Callable[..., Any], settings: dict[str, Any]) -> None:
    add = METHODS["seed"].add_and_assert_specific_cfg
    with pytest.raises(UserError, match=r"^drawn_views=4 .* expected 0 with DALI"):
        add(compose("seed", **settings | {"data.format": "dali"}))
