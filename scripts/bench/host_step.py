"""A whole step in the host's own trainer, and its floor, by turns in one process.

It works on the `solo_rekd` that is importable: `parent.py` runs it on an earlier one.
"""

import logging
import statistics
import warnings
from pathlib import Path
from typing import Any

import torch

from bench.cases import Arm, Case
from bench.floor import make_floor
from bench.noise import load, write_folder
from solo_rekd import hosts
from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector

FLAGS = (
    "--dataset imagenet --train_dir images --optimizer sgd --lr 0.03 "
    "--scheduler warmup_cosine --max_epochs 1 --brightness 0.4 --contrast 0.4 --saturation 0.4 "
    "--hue 0.1 --num_crops_per_aug 2 --proj_hidden_dim 2048 --proj_output_dim 128 "
    "--enable_progress_bar False --num_workers 0 --name step"
).split()


def write_teacher(name: str, side: int, path: Path) -> None:
    """Writes a network with a projector, its weights random, as solo-learn does."""
    network = build_backbone(name, side)
    projector = two_layer_projector(int(network.num_features), 2048, 128)
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    state |= {f"projector.{key}": value for key, value in projector.state_dict().items()}
    torch.save({"state_dict": state | {"classifier.weight": torch.zeros(1)}}, path)


def prepare(case: Case, folder: Path) -> None:
    """Writes a case's teacher, and what the host asks for, into `folder`."""
    write_folder(folder)
    write_teacher(case.teacher, case.side, folder / "teacher.pth")


def flags(case: Case, arm: Arm, folder: Path, device: torch.device) -> list[str]:
    """The flags of the classic host for an arm."""
    pairs: dict[str, Any] = {"method": arm.method, "encoder": case.student, "stem": case.stem}
    pairs |= {"crop_size": case.side, "batch_size": case.batch, "data_dir": folder}
    if arm.method != "simclr":
        queue = 2 * case.queue if arm.method == "compress" else case.queue
        pairs |= {"queue_size": queue, "base_tau_momentum": 0.99}
    if arm.teacher:
        pairs |= {"teacher": case.teacher, "teacher_cache": folder}
    if arm.teacher in ("frozen", "image"):
        pairs |= {"teacher_mode": "frozen", "teacher_checkpoint": folder / "teacher.pth"}
    if arm.teacher == "image":
        pairs |= {"teacher_view": "image"}
    if arm.method == "rekd":
        pairs |= {"teacher_warmup_epochs": 0}
    words = [word for key, value in (pairs | arm.settings).items() for word in (f"--{key}", value)]
    accelerator = ["--accelerator", {"cuda": "gpu"}.get(device.type, device.type)]
    return [*FLAGS, *map(str, words), *accelerator, *arm.flags]


def run_steps(
    case: Case,
    arm: Arm,
    folder: Path,
    formats: dict[str, str],
    device: torch.device,
    processes: int = 1,
) -> dict[str, Any]:
    """Runs a few steps of an arm and of its floor.

    Args:
        case: the sizes.
        arm: the method.
        folder: as `prepare` left it.
        formats: of the floor's networks, see `make_floor`.
        device: of the trainer.
        processes: that train together; this is one of them (`workers.py` starts them).

    Returns:
        `steps`: seconds of each; `floors`: seconds of each part, a dictionary a step; `sections`:
        shares of a step's time by section, in [0, 1].
    """
    commands = hosts.commands()  # first: it silences what the host's libraries say on import
    from solo.methods import METHODS

    from bench.step_timer import LAST, PROFILED, StepTimer

    for name in ("solo_rekd", "pytorch_lightning"):  # so short a training fills no queue
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    argv = flags(case, arm, folder, device)
    argv += ["--devices", str(processes), *(["--strategy", "ddp"] if processes > 1 else [])]
    settings = commands.parse_pretrain(argv)
    timer = StepTimer(case, make_floor(case, arm, formats, device))
    trainer = commands.make_trainer(settings, "step", [timer])
    batches = case.warmup + case.steps + PROFILED
    images = (batches * case.batch + LAST) * processes
    method = METHODS[arm.method](**vars(settings))
    trainer.fit(method, load(images, case.side, case.batch))
    total = sum(timer.sections.seconds.values())
    sections = {name: spent / total for name, spent in timer.sections.seconds.items()}
    return {"steps": timer.steps, "floors": timer.floors, "sections": sections}


def medians(floors: list[dict[str, float]]) -> dict[str, float]:
    """The median of each part of a floor."""
    return {part: statistics.median(each[part] for each in floors) for part in floors[0]}
