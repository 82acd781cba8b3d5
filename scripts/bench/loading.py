"""Times how fast both hosts load training images, and how long a training waits for them.

Usage:
    python scripts/bench/loading.py FOLDER [FOLDER ...] [--quick]

FOLDER holds `train` and `val` with images in class folders. Two augmented crops of each image are
loaded, at the images' own size up to 64 px, else at 224 px: by torchvision from files, from decoded
images, from those with their resizing by torchvision's v2, and by DALI where it is installed. Each
host is measured where it is importable, in a process of its own, on one thread.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from solo_rekd import hosts
from solo_rekd.compare.images import default_crop_size, find_images
from solo_rekd.compare.jobs import AUGMENTATION, blur
from solo_rekd.hosts.jobs import (
    Images,
    Network,
    Optimizer,
    Pretraining,
    Progress,
)
from solo_rekd.hosts.shared.progress import BatchCountHooks
from solo_rekd.images.data_sets import MEAN, STD
from solo_rekd.images.decoded.chosen import VARIABLE, prepare_folders
from solo_rekd.utils.errors import UserError

LOADERS = ("torchvision", "decoded", "v2", "dali")
# each host by its name, and where it is: a checkout of main need not be importable
HOSTS = {
    hosts.CLASSIC: hosts.CLASSIC,
    hosts.MAIN: os.environ.get("SOLO_LEARN_HOME") or hosts.MAIN,
}
WORKERS = (0, 1)
BATCH, BATCHES, QUICK = 32, 24, 8  # images, and batches that are timed
WARM = 4  # batches before those, some of which were loaded ahead
EPOCHS = 3  # of loading alone, of which the fastest counts: a busy machine slows some
COUNTED: Any = BatchCountHooks.on_train_batch_end
STUDENT = "mobilenet_v3_small"


class Probe:
    """What is added to a run's count of batches: how long it waits, and how fast it loads alone."""

    def __init__(self, batches: int, batch_size: int) -> None:
        self.batches, self.batch_size = batches, batch_size
        self.waited = self.trained = 0.0
        self.ended: float | None = None
        self.speed = self.of_core = 0.0

    def start(self, *_: Any) -> None:
        """A batch is there."""
        self.began = time.perf_counter()
        if self.ended is not None:
            self.waited += self.began - self.ended

    def end(self, *_: Any) -> None:
        """A step is done; the first one, which warms up, counts nothing."""
        now = time.perf_counter()
        if self.ended is not None:
            self.trained += now - self.began
        self.ended = now

    def load(self, trainer: Any) -> None:
        """Loads without training."""
        loader = trainer.train_dataloader
        loader = getattr(loader, "loaders", loader)  # Lightning 1.9 wraps it
        for _ in range(EPOCHS):
            batches = iter(loader)
            for _ in islice(batches, WARM):
                pass
            started, worked = time.perf_counter(), time.process_time()
            images = self.batch_size * sum(1 for _ in islice(batches, self.batches))
            self.speed = max(self.speed, images / (time.perf_counter() - started))
            self.of_core = max(self.of_core, images / (time.process_time() - worked))
            for _ in batches:  # DALI begins no epoch within another
                pass


def run_one(host: str, job: Pretraining, batches: int) -> dict[str, float]:
    """Trains an epoch and loads another, in this process.

    Returns:
        images_per_second, without workers also images_per_core_second, of processor time, and
        `waiting`, a share of the training's time.
    """
    probe = Probe(batches, job.batch_size)
    hooks: Any = BatchCountHooks
    hooks.on_train_batch_start = lambda self, *args: probe.start()
    hooks.on_train_batch_end = lambda self, *args: (COUNTED(self, *args), probe.end())[0]
    hooks.on_train_end = lambda self, trainer, module: probe.load(trainer)
    hosts.find(host).pretrain(job, None, None, Progress())
    waiting = probe.waited / (probe.waited + probe.trained)
    found = {"images_per_second": probe.speed, "waiting": waiting}
    if not job.images.workers:  # whose time is another process's
        found["images_per_core_second"] = probe.of_core
    return found


def make_job(folder: Path, size: int, workers: int, dali: bool, batches: int) -> Pretraining:
    """The host's MoCo v2+ with the augmentation of a comparison."""
    images = len(find_images(folder, "train", "val").train)
    batch_size = min(BATCH, images // (WARM + 2))  # so that some are timed
    paths = str(folder / "train"), str(folder / "val")
    colours = {"mean": MEAN, "std": STD, "dali": "cpu" if dali else None}
    return Pretraining(
        "mocov2plus",
        Network(STUDENT),
        Images(*paths, size=size, workers=workers, **colours),
        (AUGMENTATION.__class__(**{**vars(AUGMENTATION), "blur": blur(size)}),),
        Optimizer("sgd", 0.01, schedule="none"),
        batch_size=batch_size,
        epochs=1,
        settings={"queue_size": 2 * batch_size},
        host={"limit_train_batches": batches, "limit_val_batches": 0, "accelerator": "cpu"},
    )


def measure(folder: Path | str, quick: bool = False) -> list[dict[str, Any]]:
    """Measures every loader on both hosts, without workers and with one.

    Args:
        folder: holds `train` and `val`.
        quick: whether fewer batches will do.

    Returns:
        A row for each: host, loader, size [px], workers, images_per_second, without workers
        images_per_core_second, ratio of that (else of the former) to torchvision's, and waiting,
        the share of a training's time.
    """
    folder = Path(folder).resolve()
    size = default_crop_size(find_images(folder, "train", "val").train[0])
    loaders = LOADERS if importlib.util.find_spec("nvidia.dali") else LOADERS[:-1]
    rows = []
    for host, place in HOSTS.items():
        if not _is_there(place):
            continue
        found = _in_a_process(place, loaders, folder, size, quick)
        plain = {row["workers"]: _speed(row) for row in found[:: len(loaders)]}
        for row in found:
            ratio = _speed(row) / plain[row["workers"]]
            rows.append({"host": host, "size": size, **row, "ratio": ratio})
    return rows


def _speed(row: dict[str, Any]) -> float:
    """What is compared: processor time where it is known, which other processes do not change."""
    return row.get("images_per_core_second", row["images_per_second"])


def _is_there(host: str) -> bool:
    try:
        return bool(hosts.locate(host))
    except UserError:
        return False


def _in_a_process(
    host: str, loaders: Sequence[str], folder: Path, size: int, quick: bool
) -> list[dict[str, Any]]:
    """Measures all loaders on one host, for both are packages named `solo`."""
    told = {"host": host, "folder": str(folder), "loaders": loaders, "size": size, "quick": quick}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{host}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _one(told: dict[str, Any]) -> None:
    batches, folder = QUICK if told["quick"] else BATCHES, Path(told["folder"])
    rows = []
    with tempfile.TemporaryDirectory() as kept:
        for workers in WORKERS:
            for loader in told["loaders"]:
                os.environ[VARIABLE] = "{}"
                if loader in ("decoded", "v2"):
                    transforms = "v2" if loader == "v2" else "host"
                    prepare_folders([str(folder / "train")], True, kept, transforms)
                job = make_job(folder, told["size"], workers, loader == "dali", batches)
                figures = run_one(told["host"], job, batches)
                rows.append({"loader": loader, "workers": workers, **figures})
    print(json.dumps(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| host | size [px] | workers | loader | images/s | images/core s | ratio | waiting |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['host']} | {row['size']} | {row['workers']} | {row['loader']} "
        of_core = row.get("images_per_core_second")
        speed = f"| {row['images_per_second']:.0f} | {f'{of_core:.0f}' if of_core else ''} "
        speed += f"| {row['ratio']:.2f} "
        lines.append(f"{head}{speed}| {row['waiting']:.0%} |")
    return "\n".join(lines)


def main() -> None:
    """Prints a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="*")
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        _one(args.one)
    for folder in args.folder:
        print(table(measure(folder, args.quick)), flush=True)


if __name__ == "__main__":
    main()
