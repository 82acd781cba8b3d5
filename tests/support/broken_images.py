"""A comparison, a pretraining and evaluations on class folders with broken images, on any host."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mistakes import cut, read_bases

BROKEN = "images/train/a/03.png", "images/train/b/05.png", "images/val/a/02.png"
COMPARE = (
    "compare --data images --out compared --methods simclr --seeds 1 --epochs 1 --linear_epochs 1 "
    "--student alexnet --batch_size 8 --num_workers 0 --skip_broken"
)


def break_images(ready: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Copies a folder of `make_ready`, breaks three images in it, and goes there."""
    shutil.copytree(ready, folder)
    for name in BROKEN:
        cut(folder / name)
    patch.chdir(folder)


def check_all(
    folder: Path, solo: Callable[..., tuple[int, str, str]], log: pytest.LogCaptureFixture
) -> None:
    """Runs what leaves broken images out, and sees what it says of them.

    Args:
        folder: of `break_images`.
        solo: runs a command line: exit code, standard output, standard error.
        log: what is logged.
    """
    bases = read_bases()
    named = f"2 of 32 images are broken and left out: {BROKEN[0]} ("
    for name in ("pretrain", "linear", "knn"):
        code, out, said = solo(*bases[name].split(), "--skip_broken")
        assert code == 0, said
        assert log.text.count(named) == 1  # each folder is spoken of once in a process
        assert "top-1" in out or name == "pretrain"
    code, _, said = solo(*COMPARE.split())
    assert code == 0, said
    compared = json.loads((folder / "compared/comparison.json").read_text())
    assert compared["protocol"]["broken images left out"] == 3
    assert compared["protocol"]["training images"] == 30
    (result,) = folder.glob("compared/runs/simclr/*/result.json")
    command = json.loads(result.read_text())["pretrain"]["command"]
    assert command.startswith("SOLO_REKD_SKIP_BROKEN=1 ")
