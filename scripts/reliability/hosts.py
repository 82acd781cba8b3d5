"""Trains in the hosts in one process, in two and in four, and says by how much they differ.

Each training is `solo-rekd pretrain` in float64 on networks without BatchNorm, whose statistics are
a process's own on a CPU, and with views that nothing random changes: a photo as it is, and its grey
mirror image. The processes share out each batch as Lightning does; the images of one process come
in the order in which several gather theirs. What is compared is the last checkpoint. A case that
the file has is not run again.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from study.rows import RESULTS
from study.runner import code_commit
from torch import Tensor

from reliability import rank_order
from reliability.agreement import difference
from reliability.commands import CLASSES, PICTURES, SIDE, Given
from reliability.kill import WORK
from reliability.rows import add_row, machine, read_rows
from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.read import read_complete

FILE = RESULTS / "reliability-hosts.csv"
NETWORK, WIDTH = "timm:test_convnext", 64  # LayerNorm, 0.2 million weights
BATCH, QUEUE = 8, 24
EPOCHS = 34  # of 6 steps
WORLDS = (2, 4)
TEACHER = "convnext.pth"
FROZEN = {"teacher_mode": "frozen", "teacher_checkpoint": TEACHER, "proj_output_dim": WIDTH}
ONLINE = {"teacher_mode": "online", "teacher_warmup_epochs": 1, "proj_output_dim": 16}
CASES: dict[str, dict[str, Any]] = {
    "rekd online": ONLINE | {"method": "rekd", "num_prototypes": 4},
    "rekd views": FROZEN | {"method": "rekd", "num_prototypes": 4, "relation_view": "views"},
    "rekd images": FROZEN | {"method": "rekd", "num_prototypes": 4},
    "seed": FROZEN | {"method": "seed"},
    "compress": FROZEN | {"method": "compress", "variant": "2q"},
    "disco": FROZEN | {"method": "disco"},
    "crcd": FROZEN | {"method": "crcd"},
    "bingo": FROZEN | {"method": "bingo", "bag_size": 3},
    "coss": FROZEN | {"method": "coss", "neighbours": 0},
    "seed accumulated": FROZEN | {"method": "seed", "accumulate_grad_batches": 2},
}
AS_THEY_ARE = {  # of the first and the second view
    **{"crop_size": (SIDE,), "num_crops_per_aug": (1, 1), "min_scale": (1,), "max_scale": (1,)},
    **{name: (0,) for name in ("brightness", "contrast", "saturation", "hue")},
    **{"gaussian_prob": (0, 0), "solarization_prob": (0, 0)},
    **{"gray_scale_prob": (0, 1), "horizontal_flip_prob": (0, 1)},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--host", default="classic", help="classic, main, or DIR of a checkout. Default: classic")
    add("--epochs", type=int, default=EPOCHS, help="of 6 steps. Default: %(default)s")
    add("--cases", nargs="+", choices=CASES, default=[*CASES], help="Default: all")
    add("--processes", nargs="+", type=int, choices=WORLDS, default=WORLDS, help="Default: 2 4")
    add("--work", type=Path, default=WORK, metavar="DIR", help="Default: %(default)s")
    add("--results", type=Path, default=FILE, metavar="FILE", help="Default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs the cases that the file lacks."""
    name = args.host if args.host in ("classic", "main") else "main"
    steps = args.epochs * (PICTURES["train"] * len(CLASSES) // BATCH)
    given = Given(args.host, args.work.resolve() / f"{name}-processes")
    for case, processes in itertools.product(args.cases, args.processes):
        of = {"host": name, "case": case, "processes": str(processes), "steps": str(steps)}
        if any(of.items() <= row.items() for row in read_rows(args.results)):
            continue
        found = compare(given, case, processes, args.epochs)
        largest = {part: f"{value:.1e}" for part, value in found.items()}
        row = of | largest | {"commit": code_commit(), "machine": machine()}
        add_row(args.results, row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return 0


def compare(given: Given, case: str, processes: int, epochs: int) -> dict[str, float]:
    """Trains a case in several processes, and in one with the images in the order of theirs.

    Returns:
        The largest differences of the last checkpoint.
    """
    given.make()
    teacher = given.folder / TEACHER
    if not teacher.exists():
        torch.manual_seed(0)
        torch.save(build_backbone(NETWORK, SIDE, "auto", "teacher").state_dict(), teacher)
    whole = train(given, case, 1, processes, epochs)
    return differences(whole, train(given, case, processes, 1, epochs))


def train(
    given: Given, case: str, processes: int, in_order_of: int, epochs: int
) -> dict[str, Tensor]:
    """Runs one training; returns what its last checkpoint holds.

    Args:
        given: host, images and teacher.
        case: of `CASES`.
        processes: that train.
        in_order_of: processes in whose order the images come.
        epochs: of the training.

    Raises:
        CalledProcessError: it failed; its log is beside its folder.
    """
    out = given.folder / f"{case.replace(' ', '-')}-{processes}-{in_order_of}"
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, rank_order.__file__, "pretrain"]
    words += [*flags(given, case, processes, epochs), "--checkpoint_dir", str(out)]
    order = {rank_order.PROCESSES: str(in_order_of), rank_order.BATCH: str(BATCH)}
    with out.with_suffix(".log").open("w") as log:
        environment = given.environment | order
        subprocess.run(words, cwd=given.folder, env=environment, stdout=log, stderr=log, check=True)
    (saved,) = out.glob("*/*/*.ckpt")
    return read_complete(saved)["state_dict"]


def flags(given: Given, case: str, processes: int, epochs: int) -> list[str]:
    """The flags of a training, which both hosts take alike."""
    options = {
        **{"host": given.host, "encoder": NETWORK, "teacher": NETWORK, "dataset": "custom"},
        **{"data_dir": given.data, "train_dir": "train", "val_dir": "val", "limit_val_batches": 0},
        **{"num_workers": 0, "enable_progress_bar": False, "precision": 64, "accelerator": "cpu"},
        **{"strategy": "ddp", "devices": processes, "batch_size": BATCH // processes},
        # the rate is that of a process's batch
        **{"optimizer": "sgd", "lr": 0.1 * processes, "max_epochs": epochs},
        **{"checkpoint_frequency": epochs, "queue_size": QUEUE, "proj_hidden_dim": 32},
    }
    views = [word for name, values in AS_THEY_ARE.items() for word in (f"--{name}", *values)]
    one = [word for name, value in (options | CASES[case]).items() for word in (f"--{name}", value)]
    return [*map(str, [*one, *views]), "--save_checkpoint"]


def differences(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest absolute differences of student and of objective, which have the same names."""
    if one.keys() != other.keys():
        raise ValueError(f"the states differ in {sorted(one.keys() ^ other.keys())}")
    found = {"student": 0.0, "objective": 0.0}
    for name, value in one.items():
        if "classifier" not in name:  # linear probes, which teach nothing
            part = "objective" if name.startswith("objective.") else "student"
            found[part] = max(found[part], difference(value, other[name]))
    return found
