"""Part `growth`: time and memory against batch, queue, bank, image size and processes."""

import functools
import gc
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from bench import cases, losses, workers
from bench.cases import Case
from bench.exponents import exponent, last_exponent
from bench.floor import compare_formats, faster, make_floor
from bench.host_step import prepare, run_steps
from bench.losses import units
from bench.memory import peak_bytes
from bench.page import shown, table
from bench.timing import in_turns, seconds
from solo_rekd.modules import prototypes
from solo_rekd.modules.prototypes import PrototypeBank
from solo_rekd.modules.queue import KeyQueue
from solo_rekd.objectives.rekd import relation_metrics

CLASSES = 1000
MINER = "miner"  # of `sections.PLACES`
# the step whose batch, image size and processes grow
STEP = Case("mobilenet_v3_small", "timm:tf_efficientnet_lite0", 64, 32, 8192, 2, stem="imagenet")

Works = Mapping[str, Callable[[], object]]
Point = dict[str, Any]  # what was measured, at what size: seconds, and bytes where known


def measure(device: torch.device, quick: bool) -> dict[str, Any]:
    """Measures every growth, and the miner's share of a step."""
    torch.manual_seed(0)
    rounds = 1 if quick else 3
    found: dict[str, list[Point]] = {
        "batch": _measure_losses(_batches(quick), rounds, device),
        "queue": _measure_losses(_queues(quick), rounds, device),
        "bank": _grow(_banks(quick, device), rounds, device),
    }
    found["batch of a step"] = _steps_of_batches(quick, device)
    found["image size"] = _steps_of_sides(quick, device)
    if device.type == "cpu":
        found["processes"] = _processes(quick)
    return {"series": found, "miner": _miner_shares(quick, device)}


def _batches(quick: bool) -> list[tuple[int, dict[str, int]]]:
    sizes = (4, 8) if quick else (32, 64, 128, 256, 512)
    queue = 256 if quick else 65_536
    return [(size, {"batch": size, "queue": queue, "prototypes": 100}) for size in sizes]


def _queues(quick: bool) -> list[tuple[int, dict[str, int]]]:
    sizes = (256, 512) if quick else (16_384, 65_536, 262_144, 1_048_576)
    batch = 4 if quick else 64
    return [(size, {"batch": batch, "queue": size, "prototypes": 100}) for size in sizes]


def _measure_losses(
    points: list[tuple[int, dict[str, int]]], rounds: int, device: torch.device
) -> list[Point]:
    """The losses, but for CRCD's relation contrast, which has its own row up to 128 images."""

    def works() -> Iterator[tuple[int, Works]]:
        for size, sizes in points:
            found = losses.make_losses(**sizes, device=device)
            slow = [name for name in found if name.startswith("CRCD's relation")]
            if sizes["batch"] > 128 or sizes["batch"] != size:
                for name in slow:
                    del found[name]
            yield size, losses.works(found)

    return _grow(works(), rounds, device)


def _banks(quick: bool, device: torch.device) -> Iterator[tuple[int, Works]]:
    """The miner's parts and the relation contrast, by the number of prototypes."""
    batch, queue = (4, 64) if quick else (256, 65_536)
    for size in (8, 16) if quick else (100, 1_000, 10_000, 100_000):
        found = losses.make_losses(batch, queue, size, device)
        bank = PrototypeBank(size, losses.DIM, momentum=0.9, patience=queue).to(device)
        with _quick_start():
            bank.start(units(size, device))
        taught = units(batch, device)
        ids = bank.assign(taught)
        entries = KeyQueue(
            ids=torch.randint(0, size, (queue,), device=device),
            labels=torch.randint(0, CLASSES, (queue,), device=device),
        )
        metrics = ids, torch.randint(0, CLASSES, (batch,), device=device), entries, size, CLASSES
        works: dict[str, Callable[[], object]] = {
            name: functools.partial(losses.differentiate, loss)
            for name, loss in found.items()
            if name.startswith("relation contrast")
        }
        works["miner: assignment"] = functools.partial(bank.assign, taught)
        works["miner: update"] = functools.partial(bank.update, taught, ids)
        works["miner: metrics"] = functools.partial(relation_metrics, *metrics)
        yield size, works


def _grow(works: Iterable[tuple[int, Works]], rounds: int, device: torch.device) -> list[Point]:
    """Median seconds and peak bytes of each piece of work at each size."""
    points = []
    for size, each in works:
        print(f"growth: {', '.join(each)} at {size:,}", flush=True)
        taken = in_turns(each, rounds, device)
        points += [
            {
                "what": name,
                "size": size,
                "seconds": taken[name],
                "bytes": peak_bytes(work, device),
            }
            for name, work in each.items()
        ]
        gc.collect()
    return points


def _step_at(size: int, case: Case, device: torch.device) -> list[Point]:
    """A whole step of `seed` and `rekd`, and the student's own forward and backward."""
    print(f"growth: steps at {size:,}, {case}", flush=True)
    formats = faster(compare_formats(case, 2, device))
    points = []
    with tempfile.TemporaryDirectory() as name:
        prepare(case, Path(name))
        for arm in (cases.SEED, cases.REKD):
            result = run_steps(case, arm, Path(name), formats, device)
            taken = statistics.median(result["steps"])
            points.append({"what": f"step of {arm}", "size": size, "seconds": taken})
    floor = make_floor(case, cases.SEED, formats, device)
    floor.step()
    taken = statistics.median(seconds(floor.step, device) for _ in range(3))
    peak = peak_bytes(floor.step, device)
    student = {"what": "student alone", "size": size, "seconds": taken, "bytes": peak}
    return [*points, student]


def _steps_of_batches(quick: bool, device: torch.device) -> list[Point]:
    sizes = (4, 8) if quick else (32, 64, 128, 256, 512)
    start = cases.TINY if quick else STEP
    return [point for size in sizes for point in _step_at(size, replace(start, batch=size), device)]


def _steps_of_sides(quick: bool, device: torch.device) -> list[Point]:
    sizes = (32, 64) if quick else (32, 64, 128, 224)
    start = cases.TINY if quick else STEP
    return [point for size in sizes for point in _step_at(size, replace(start, side=size), device)]


def _processes(quick: bool) -> list[Point]:
    """A step of `seed`, each of whose processes has the same batch."""
    case = cases.TINY if quick else replace(STEP, steps=6)
    points = []
    with tempfile.TemporaryDirectory() as name:
        prepare(case, Path(name))
        formats = dict.fromkeys(("student", "teacher"), "channels-last")
        task = workers.task_of(case, [cases.SEED, cases.REKD], Path(name), formats, "cpu")
        for number in (1, 2) if quick else (1, 2, 4):
            print(f"growth: {number} processes, {case}", flush=True)
            answers = workers.together(task, number)
            for place, arm in enumerate((cases.SEED, cases.REKD)):
                steps = [step for each in answers for step in each["results"][place]["steps"]]
                point = {"what": f"step of {arm}", "size": number}
                points.append(point | {"seconds": statistics.median(steps)})
            held = [each["resident_bytes"] for each in answers]
            if None not in held:
                points.append({"what": "resident in a process", "size": number, "bytes": max(held)})
    return points


@contextmanager
def _quick_start() -> Iterator[None]:
    """Starts a bank from entries of the queue: k-means takes minutes for 10,000 prototypes."""

    def first(embeddings: torch.Tensor, number: int, *rest: object) -> torch.Tensor:
        return embeddings[:number].clone()

    with patch.object(prototypes, "spherical_kmeans", first):
        yield


def _miner_shares(quick: bool, device: torch.device) -> list[dict[str, Any]]:
    """The miner's share of a whole step of `rekd`, by the number of prototypes."""
    sizes = [replace(cases.SMALL, queue=65_536, steps=1), replace(cases.LARGE, steps=1)]
    banks = [100, 1_000, 10_000]
    if quick:
        sizes, banks = [cases.TINY], [8, 16]
    rows = []
    for case in sizes:
        formats = dict.fromkeys(("student", "teacher"), "channels-last")
        with tempfile.TemporaryDirectory() as name, _quick_start():
            prepare(case, Path(name))
            for bank in banks:
                print(f"growth: the miner with {bank:,} prototypes, {case}", flush=True)
                settings = cases.REKD.settings | {"num_prototypes": str(bank)}
                arm = replace(cases.REKD, settings=settings)
                result = run_steps(case, arm, Path(name), formats, device)
                rows.append(
                    {
                        "case": str(case),
                        "prototypes": bank,
                        "share": result["sections"].get(MINER, 0.0),
                    }
                )
    return rows


def tables(results: dict[str, Any]) -> str:
    """The tables of the part's results."""
    parts = []
    for name, points in results["series"].items():
        parts += [f"By {name}:", series_table(points)]
    rows = [[row["case"], row["prototypes"], 100 * row["share"]] for row in results["miner"]]
    parts += ["The miner's share of a step of `rekd`:"]
    parts += [table(["step", "prototypes", "percent of the step"], rows)]
    return "\n\n".join(parts)


def series_table(points: list[Point]) -> str:
    """A row for each thing that was measured: its values by size, and their exponents."""
    sizes = sorted({point["size"] for point in points})
    rows = []
    for what in dict.fromkeys(point["what"] for point in points):
        own = [point for point in points if point["what"] == what]
        for unit, scale, label in (("seconds", 1, "s"), ("bytes", 2**20, "MiB")):
            values = {point["size"]: point[unit] / scale for point in own if unit in point}
            if not values:
                continue
            fits = ["", ""]
            if len(values) > 1:
                fits = [f"{fit([*values], [*values.values()]):.2f}" for fit in FITS]
            cells = [shown(values[size]) if size in values else "" for size in sizes]
            rows.append([what, label, *cells, *fits])
    return table(["", "", *(f"{size:,}" for size in sizes), "exponent", "upper half"], rows)


FITS = (exponent, last_exponent)
