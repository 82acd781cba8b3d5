"""Decoded images in whole runs of both hosts, each in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solo_rekd.images.decoded.chosen import prepare_folders
from solo_rekd.images.decoded.index import find

HOME = os.environ.get("SOLO_LEARN_HOME")
MAIN = pytest.param(
    HOME,
    marks=[
        pytest.mark.current_host,
        pytest.mark.skipif(not HOME, reason="SOLO_LEARN_HOME names no checkout of main"),
    ],
)
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("host", ["classic", MAIN])]
# no host may start a worker by a copy of its own process
SPAWNED = """
import multiprocessing, sys
multiprocessing.set_start_method("spawn")
from solo_rekd.cli import main
sys.exit(main())
"""
FLAGS = (
    "--method simclr --encoder alexnet --dataset custom --train_dir train --val_dir val "
    "--crop_size 32 --optimizer sgd --scheduler none --lr 0.1 --batch_size 8 --max_epochs 1 "
    "--proj_hidden_dim 16 --proj_output_dim 8 --num_workers 1 --limit_val_batches 2 "
    "--temperature 0.2 --enable_progress_bar False "
    "--brightness 0.4 --contrast 0.4 --saturation 0.2 --hue 0.1 --gaussian_prob 0"
)


@pytest.fixture
def images(data: Path, tmp_path: Path) -> Path:
    for name in ("train", "val"):
        shutil.copytree(data / name, tmp_path / "images" / name)
    return tmp_path / "images"


def pretrain(host: str, images: Path, *more: str) -> str:
    words = ["pretrain", "--host", host, "--data_dir", str(images), *FLAGS.split(), *more]
    ran = subprocess.run([sys.executable, "-c", SPAWNED, *words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.trial
@pytest.mark.parametrize("transforms", ["v2", "host"])
def test_spawned_workers_read_no_file(
    host: str, transforms: str, images: Path, tmp_path: Path
) -> None:
    # chosen by the process that starts the run, as a comparison does
    prepare_folders(
        [str(images / name) for name in ("train", "val")], True, str(tmp_path / "c"), transforms
    )
    for path in images.rglob("*.png"):
        path.write_bytes(b"none")
    assert "pretrained in" in pretrain(host, images)


@pytest.mark.trial
def test_a_run_decodes_what_the_next_reads(host: str, images: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    pretrain(host, images, "--decoded_images", str(kept))
    folders = {path.parent: path.stat().st_ino for path in kept.glob("*/pixels.bin")}
    indexes = [np.load(folder / "index.npy") for folder in folders]
    assert sorted(map(len, indexes)) == [24, 48]
    assert any(find(index, "a/00.png") for index in indexes)
    prepare_folders([str(images / "train"), str(images / "val")], True, str(kept), "auto")
    assert folders == {path.parent: path.stat().st_ino for path in kept.glob("*/pixels.bin")}
