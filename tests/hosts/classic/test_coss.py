"""CoSS in the classic host: its batches come from the host's own loader."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as transforms

from solo_rekd.utils.errors import UserError

# two views that are the image itself
PLAIN = {
    **{"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "min_scale": 1},
    **{"gray_scale_prob": 0, "horizontal_flip_prob": 0},
}
SHORT = {"limit_val_batches": 0, "neighbours": 3, "neighbour_pool": 7}
# `solo-rekd`, which keeps the places of the images of every batch
WITNESS = """
import torch
from solo_rekd import hosts
from solo_rekd.cli import main

hosts.commands()
from solo.methods import METHODS

places = []
step = METHODS["coss"].training_step

def watch(self, batch, batch_idx):
    places.append(batch[0].tensor.tolist() if hasattr(batch[0], "tensor") else batch[0].tolist())
    return step(self, batch, batch_idx)

def save(self):
    torch.save({"places": places, "members": self.objective.neighbours.members},
               f"rank{self.global_rank}.pt")

METHODS["coss"].training_step = watch
METHODS["coss"].on_train_end = save
main()
"""


class Seen(NamedTuple):
    """Places and pixels of all batches, and what the teacher found."""

    places: list[list[int]]
    pixels: list[torch.Tensor]
    members: torch.Tensor


@pytest.fixture
def watch(
    train: Callable[..., dict[str, Any]],
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Seen]:
    """Trains, and returns what the training saw."""
    from solo.methods import METHODS

    def run(**changes: Any) -> Seen:
        places: list[list[int]] = []
        pixels: list[torch.Tensor] = []
        members: list[torch.Tensor] = []
        step = METHODS["coss"].training_step

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            places.append(batch[0].tolist())
            pixels.append(torch.cat(batch[1]))
            members.append(self.objective.neighbours.members)
            return step(self, batch, batch_idx)

        monkeypatch.setattr(METHODS["coss"], "training_step", training_step)
        settings = frozen_teacher | SHORT | {"teacher_cache": tmp_path / "cache"} | changes
        train("coss", **settings)
        monkeypatch.undo()
        return Seen(places, pixels, members[0])

    return run


def assert_neighbours(places: list[list[int]], members: torch.Tensor) -> None:
    """Checks batches of eight: two anchors, each with three images of its pool."""
    for batch in places:
        assert len(batch) == 8
        for start in (0, 4):
            anchor, *others = batch[start : start + 4]
            assert len({*others}) == 3
            assert {*others} <= {*members[anchor].tolist()}


@pytest.mark.slow
def test_batches_hold_neighbours_and_epochs_as_many_images(
    watch: Callable[..., Seen], data: Path
) -> None:
    whole = watch(max_epochs=2, num_workers=1, **PLAIN)
    assert len(whole.places) == 2 * 6  # of 48 images in batches of eight
    assert_neighbours(whole.places, whole.members)
    anchors = [place for batch in whole.places for place in batch[::4]]
    assert len({*anchors[:12]}) == 12 and anchors[:12] != anchors[12:]
    # each image comes under its own place
    files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    for batch, pixels in zip(whole.places, whole.pixels, strict=True):
        for place, view in zip(batch * 2, pixels, strict=True):
            image = transforms.to_tensor(Image.open(files[place]).convert("RGB"))
            torch.testing.assert_close(view, (image - 0.5) / 0.5)


@pytest.mark.slow
def test_the_seed_decides_and_a_resumed_run_sees_what_it_would_have_seen(
    watch: Callable[..., Seen], tmp_path: Path
) -> None:
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path / "runs", "num_workers": 1}
    whole = watch(max_epochs=2, num_workers=1)
    watch(max_epochs=1, **kept)
    (checkpoint,) = tmp_path.glob("runs/*/*/*.ckpt")
    rest = watch(max_epochs=2, resume_from_checkpoint=checkpoint, num_workers=1)
    assert rest.places == whole.places[6:]
    assert torch.equal(torch.stack(rest.pixels), torch.stack(whole.pixels[6:]))
    assert watch(seed=3).places != whole.places[:6]


@pytest.mark.trial
def test_two_processes(
    flags: Callable[..., list[str]], frozen_teacher: dict[str, Any], tmp_path: Path
) -> None:
    two = {"devices": 2, "strategy": "ddp", "teacher_cache": tmp_path / "cache"}
    argv = flags("pretrain", method="coss", **frozen_teacher | SHORT | two)
    script = tmp_path / "witness.py"
    script.write_text(WITNESS)
    done = subprocess.run(
        [sys.executable, script, "pretrain", *argv],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    anchors = []
    for rank in ranks:
        assert len(rank["places"]) == 3
        assert torch.equal(rank["members"], ranks[0]["members"])
        assert_neighbours(rank["places"], rank["members"])
        anchors += [place for batch in rank["places"] for place in batch[::4]]
    assert len({*anchors}) == len(anchors) == 12


def test_mistakes_are_one_line(
    host: ModuleType, flags: Callable[..., list[str]], frozen_teacher: dict[str, Any]
) -> None:
    def parse(**changes: Any) -> None:
        host.parse_pretrain(flags("pretrain", method="coss", **frozen_teacher | changes))

    with pytest.raises(UserError, match=r"^neighbours=15 .* expected 0 with DALI, .* without DALI"):
        parse(dali=True)
    with pytest.raises(UserError, match=r"^neighbours=40 .* at most neighbour_pool=31$"):
        parse(neighbours=40)
    with pytest.raises(UserError, match=r"^teacher_mode='online' .* online with neighbours=0"):
        parse(teacher_mode="online", teacher_checkpoint=None)
