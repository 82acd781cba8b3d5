"""Part `compare`: a comparison of five arms, now and with the package at an earlier commit."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.cases import SMALL
from bench.earlier import checkout
from bench.host_step import write_teacher
from bench.noise import write_tree
from bench.page import table
from bench.parent import median_ratio
from bench.workers import ROOT, SCRIPTS

ROUNDS = 1
ARMS = "untrained,mocov2plus,simclr,rekd,seed"
FLAGS = (
    f"--student {SMALL.student} --teacher {SMALL.teacher} --crop_size {SMALL.side} "
    f"--batch_size {SMALL.batch} --lr 0.03 --seeds 1 --linear_epochs 2 --num_workers 0 --jobs 1"
).split()


def measure(
    device: torch.device,
    quick: bool,
    parent: str,
    data: Path | None = None,
    teacher_file: Path | None = None,
) -> dict[str, Any] | None:
    """Runs the comparison with both versions in turns; once, on the CPU.

    Args:
        device: another than the CPU is passed over.
        quick: whether to compare two arms only, on few images.
        parent: the earlier commit.
        data: folder with `train` and `val` or `test`; None: images of noise.
        teacher_file: weights of the EfficientNet-Lite0; None: random ones.
    """
    if device.type != "cpu":
        return None
    arms = "untrained,mocov2plus" if quick else ARMS
    taken: dict[str, list[float]] = {"now": [], "parent": []}
    with checkout(parent) as earlier, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = data or folder / "data"
        if data is None:
            write_tree(images, 16 if quick else 240)
        if teacher_file is None:
            teacher_file = folder / "teacher.pth"
            write_teacher(SMALL.teacher, SMALL.side, teacher_file)
        flags = [*FLAGS, "--data", images.absolute(), "--methods", arms]
        flags += ["--teacher_checkpoint", teacher_file.absolute(), "--epochs", 1 if quick else 2]
        if not (images / "val").exists():
            flags += ["--val_dir", "test"]
        for number in range(1 if quick else ROUNDS):
            for version in sorted(taken, reverse=bool(number % 2)):
                print(f"comparison of {version}", flush=True)
                out = folder / f"{version}-{number}"
                package = ROOT if version == "now" else earlier
                taken[version].append(_run([*flags, "--out", out], package, out))
    return {"arms": arms, "flags": " ".join(FLAGS), "seconds": taken, "parent": parent}


def _run(flags: list[Any], package: Path, out: Path) -> float:
    """Seconds of one comparison, with the `solo_rekd` that lies in the folder `package`.

    Its caches are new, so that no run finds what another one left.

    Raises:
        SystemExit: it failed.
    """
    cache = str(out.with_name(f"{out.name}-cache"))
    settings = {**os.environ, "PYTHONPATH": str(package), "XDG_CACHE_HOME": cache}
    settings.pop("OMP_NUM_THREADS", None)  # the comparison shares the cores out by itself
    program = "from solo_rekd.cli import main; main()"
    command = [sys.executable, "-c", program, "compare", *map(str, flags)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=SCRIPTS, env=settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the comparison failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started


def tables(results: dict[str, Any]) -> str:
    """The table of the part's results."""
    seconds = results["seconds"]
    rows = [[name, *values] for name, values in seconds.items()]
    heads = ["", *(f"turn {number + 1}, seconds" for number in range(len(seconds["now"])))]
    ratio = median_ratio(seconds["now"], seconds["parent"])
    return "\n\n".join(
        [
            f"Arms {results['arms']}; `{results['flags']}`; parent `{results['parent']}`.",
            table(heads, rows),
            f"Now / parent, ratio of the medians: {ratio:.2f}.",
        ]
    )
