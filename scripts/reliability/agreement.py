"""Trains every objective in one process, in two and in four, and says by how much they differ.

Each training is a loop of its own on tiny networks without BatchNorm, or with its statistics
frozen, for SyncBatchNorm needs a GPU. The processes share out each batch in rank order, by gloo. An
epoch's last batch has 7 images in place of 8, which neither 2 nor 4 processes can share out evenly.
The file gets a row for each case, type and number of processes when all cases of a type are done; a
case that it has is not run again.
"""

import argparse
import contextlib
import csv
import datetime
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from study.rows import RESULTS, read_rows
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import RandomSampler, TensorDataset

from solo_rekd.api import Objective, make_objective
from solo_rekd.objectives.mixup import Mixed
from solo_rekd.utils.processes import is_distributed, sum_over_processes

FILE = RESULTS / "reliability-agreement.csv"
SIDE, WIDTH, TEACHER_WIDTH, CLASSES = 4, 6, 5, 3
BATCH, IMAGES = 8, 39  # an epoch is four batches of 8 and one of 7
STEPS, WORLDS = 200, (1, 2, 4)
RATE = 0.05  # of the optimiser, unless a case has a rate of its own
TYPES = {"float64": torch.float64, "float32": torch.float32}
COLUMNS = ("case", "dtype", "processes", "steps", "loss", "gradient", "state")

ONLINE = {"teacher": "alexnet", "teacher_mode": "online"}
REKD = {"num_prototypes": 4, "teacher_warmup_epochs": 1}
IMAGE = {"relation_view": "image", "teacher_cache": "cache"}
CASES: dict[str, dict[str, Any]] = {
    "seed": {},
    "seed queue first": {"queue_first": "on"},
    "seed short queue first": {"queue_first": "on", "queue_size": 6},
    "compress 1q": {"variant": "1q", "rate": 0.005},
    "compress 2q": {"variant": "2q", "rate": 0.005},
    "disco": {"rate": 0.0005},
    "crcd": {},
    "crcd labels": {"gradient_task": "labels"},
    "bingo": {"bag_size": 3, "teacher_cache": "cache"},
    "simreg": {},
    "coss": {"neighbours": 0},
    "coss neighbours": {"neighbours": 1, "neighbour_pool": 4, "teacher_cache": "cache"},
    "rekd online": ONLINE | REKD | {"relation_view": "views"},
    "rekd online images": ONLINE | REKD | IMAGE | {"dictionary": "teacher", "relation_refresh": 4},
    "rekd teacher": REKD | {"dictionary": "teacher", "relation_view": "views"},
    "rekd soft": REKD
    | {"dictionary": "teacher", "relation_view": "views", "assignment_temperature": 0.1},
    "rekd student": REKD | {"dictionary": "student", "relation_view": "views"},
    "rekd both": REKD | {"dictionary": "both", "relation_view": "views"},
    "rekd images": IMAGE | {"num_prototypes": 4, "dictionary": "teacher"},
    "rekd similar images": IMAGE | {"relation": "similarity", "dictionary": "teacher"},
    "rekd labels": REKD | {"dictionary": "teacher", "relation_view": "views", "relation": "labels"},
    "seed mixup": {"mixup": 0.5},
    "rekd mixup": REKD | {"dictionary": "teacher", "relation_view": "views", "mixup": 0.5},
    "seed accumulated": {"accumulate": 2},
    "coss accumulated": {"neighbours": 0, "accumulate": 2},
    "rekd accumulated": REKD | {"dictionary": "teacher", "relation_view": "views", "accumulate": 2},
}


class Model(nn.Module):
    """Student and objective, as docs/python.md puts them together."""

    def __init__(self, student: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, views: list[Tensor], **more: Any) -> Any:
        features = [self.student(view) for view in views]
        return self.objective(images=views, features=features, **more)


class Teacher(nn.Sequential):
    """Images to TEACHER_WIDTH features; an online one is built by its name alone."""

    num_features = TEACHER_WIDTH

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * SIDE**2, TEACHER_WIDTH), nn.Tanh())


def shares(number: int, processes: int) -> list[int]:
    """How many of some images each process has: as evenly as can be, the first ones more."""
    return [number // processes + (rank < number % processes) for rank in range(processes)]


def train(
    case: str, folder: Path, steps: int = STEPS, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    """Trains in this process, alone or as one of the group that it is in.

    Args:
        case: of `CASES`.
        folder: of the teacher's cache, one for all processes.
        steps: of the optimiser.
        dtype: of all weights.

    Returns:
        `losses` (steps,) and `gradients` (steps, P), the means over the images of all processes,
        and `state`, by name.
    """
    rank, processes = 0, 1
    if is_distributed():
        rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.manual_seed(0)
    settings = dict(CASES[case])
    accumulate, rate = settings.pop("accumulate", 1), settings.pop("rate", RATE)
    if "teacher_cache" in settings:
        settings["teacher_cache"] = str(folder)
    g = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=g)
    labels = torch.randint(-1, CLASSES, (IMAGES,), generator=g)
    objective = make_own(case.split()[0], settings, TensorDataset(images, labels), steps)
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, WIDTH), nn.Tanh())
    model = Model(student, objective).to(dtype)
    twin = objective.momentum_twin(student)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    wrapped: nn.Module = model
    if processes > 1:
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    groups = [{"params": student.parameters()}, *objective.param_groups(rate)]
    optimizer = torch.optim.SGD(groups, rate)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    found: dict[str, list[Tensor]] = {"losses": [], "gradients": []}
    for step in range(steps):
        optimizer.zero_grad()
        losses = torch.zeros((), dtype=dtype)
        for part in range(accumulate):
            epoch, batch = divmod(step * accumulate + part, -(-IMAGES // BATCH))
            if batch == 0:
                generator = torch.Generator().manual_seed(epoch)
                sampler = RandomSampler(images, generator=generator)
                order = torch.tensor([*objective.sampler(sampler, BATCH)])
            drawn = draw(order[batch * BATCH : (batch + 1) * BATCH], images, labels, epoch)
            own = share_of(drawn, rank, processes, mixup=bool(settings.get("mixup")))
            own["views"] = [view.to(dtype) for view in own["views"]]
            if twin is not None:
                with torch.no_grad():
                    own["momentum_features"] = [twin(view) for view in own["views"]]
            with synchronised(wrapped, part + 1 == accumulate):
                loss, _ = wrapped(**own, epoch=epoch)
                (loss / accumulate).backward()
            losses += loss.detach() / accumulate
        found["losses"].append(sum_over_processes(losses) / processes)
        found["gradients"].append(
            torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
        )
        optimizer.step()
        objective.update_momentum(step / steps)
    stacked = {name: torch.stack(values) for name, values in found.items()}
    return stacked | {"state": {name: each.clone() for name, each in model.state_dict().items()}}


def make_own(name: str, settings: dict[str, Any], images: TensorDataset, steps: int) -> Objective:
    """The objective of a case."""
    labelled = "labels" in settings.values()
    teacher: nn.Module | str = Teacher()
    if settings.get("teacher_mode") == "online":
        settings = {k: v for k, v in settings.items() if k != "teacher"}
    objective = make_objective(
        name,
        teacher=teacher,
        features_dim=WIDTH,
        img_size=SIDE,
        max_epochs=max(10, steps // 4),
        num_classes=CLASSES if labelled else None,
        training_images=images,
        **{"queue_size": 20, "proj_hidden_dim": 7, **settings},
    )
    return objective


def draw(places: Tensor, images: Tensor, labels: Tensor, epoch: int) -> dict[str, Any]:
    """Two views of some images, the same whoever draws them."""
    noise = torch.Generator().manual_seed(1000 + epoch * IMAGES + int(places[0]))
    views = [
        images[places] + 0.3 * torch.randn(images[places].shape, generator=noise) for _ in range(2)
    ]
    return {"views": views, "labels": labels[places], "indexes": places}


def share_of(drawn: dict[str, Any], rank: int, processes: int, mixup: bool) -> dict[str, Any]:
    """A process's share of a batch, in rank order.

    Mixed, each image has its partner in the share that it has in four processes: partners are of
    one process, and the share of an image is the same for all of a batch.
    """
    number = len(drawn["indexes"])
    numbers = shares(number, processes)
    own = slice(sum(numbers[:rank]), sum(numbers[: rank + 1]))
    found = {name: each[own] for name, each in drawn.items() if name != "views"}
    views = drawn["views"]
    if mixup:
        partners = torch.cat([start + torch.arange(size).roll(1) for start, size in blocks(number)])
        mixed = Mixed(0.7, partners)
        views = [mixed.rows(view) for view in views]
        found["mixed"] = Mixed(0.7, partners[own] - own.start)
    return found | {"views": [view[own] for view in views]}


def blocks(number: int) -> Iterator[tuple[int, int]]:
    """Start and size of each share of the most processes."""
    start = 0
    for size in shares(number, max(WORLDS)):
        yield start, size
        start += size


def synchronised(model: nn.Module, last: bool) -> Any:
    """Lets DDP take the mean of the gradients after the last part of a step alone."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def train_in_process(
    rank: int,
    processes: int,
    cases: Sequence[str],
    folder: Path,
    steps: int,
    dtype: torch.dtype,
) -> None:
    """Trains in one of several processes, and writes what came of it."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store-{processes}-{dtype}-{os.getppid()}",
        rank=rank,
        world_size=processes,
        timeout=datetime.timedelta(seconds=300),
    )
    for case in cases:
        torch.save(train(case, folder, steps, dtype), folder / f"{case}-{processes}-{rank}.pt")
    torch.distributed.destroy_process_group()


def train_in_processes(
    processes: int,
    cases: Sequence[str],
    folder: Path,
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
    start: str = "spawn",
) -> dict[str, list[dict[str, Any]]]:
    """What each process found, by case; with one process it is this one."""
    if processes == 1:
        return {case: [train(case, folder, steps, dtype)] for case in cases}
    arguments = (processes, cases, folder, steps, dtype)
    mp.start_processes(train_in_process, arguments, nprocs=processes, start_method=start)
    return {
        case: [
            torch.load(folder / f"{case}-{processes}-{rank}.pt", weights_only=True)
            for rank in range(processes)
        ]
        for case in cases
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """The largest absolute difference of losses, of gradients, and of all that the model holds."""
    state = [
        difference(one["state"][name], other["state"][name])
        for name in one["state"].keys() | other["state"].keys()
    ]
    return {
        "loss": difference(one["losses"], other["losses"]),
        "gradient": difference(one["gradients"], other["gradients"]),
        "state": max(state),
    }


def difference(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference of two tensors."""
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--steps", type=int, default=STEPS, help="of each training. Default: %(default)s")
    add("--cases", nargs="+", choices=CASES, default=[*CASES], help="Default: all")
    add("--types", nargs="+", choices=TYPES, default=[*TYPES], help="Default: all")
    add("--results", type=Path, default=FILE, metavar="FILE", help="Default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs what the file lacks."""
    rows: list[dict[str, Any]] = [*read_rows(args.results)]
    for name in args.types:
        dtype = TYPES[name]
        done = {row["case"] for row in rows if row["dtype"] == name}
        missing = [case for case in args.cases if case not in done]
        with tempfile.TemporaryDirectory() as folder:
            found = [
                train_in_processes(world, missing, Path(folder), args.steps, dtype)
                for world in WORLDS
                if missing
            ]
        for case in missing:
            for world, of_world in zip(WORLDS[1:], found[1:], strict=True):
                worst = [differences(found[0][case][0], each) for each in of_world[case]]
                largest = {key: f"{max(each[key] for each in worst):.1e}" for key in worst[0]}
                row = {"case": case, "dtype": name, "processes": world, "steps": args.steps}
                rows.append(row | largest)
        args.results.parent.mkdir(parents=True, exist_ok=True)
        with args.results.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return 0
