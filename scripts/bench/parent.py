"""Part `parent`: the same steps with the package as it was at an earlier commit."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench import cases, workers
from bench.cases import Arm, Case
from bench.earlier import checkout
from bench.floor import compare_formats, faster
from bench.host_step import prepare
from bench.page import table
from bench.steps import summary

ROUNDS = 3
SMALL = (cases.MOCO, cases.SEED, cases.REKD, cases.REKD_ONLINE)
LARGE = (cases.SEED, cases.REKD_ONLINE)


def measure(device: torch.device, quick: bool, parent: str) -> dict[str, Any]:
    """Measures both versions in turns, each in processes of its own."""
    pairs = [(cases.SMALL, SMALL), (cases.LARGE, LARGE)]
    if quick:
        pairs = [(cases.TINY, (cases.SEED,))]
    with checkout(parent) as folder:
        versions = {"now": workers.ROOT, "parent": folder}
        found = [
            _measure_case(case, arms, versions, 1 if quick else ROUNDS, device)
            for case, arms in pairs
        ]
    return {"parent": parent, "cases": found}


def _measure_case(
    case: Case, arms: tuple[Arm, ...], versions: dict[str, Path], rounds: int, device: torch.device
) -> dict[str, Any]:
    formats = faster(compare_formats(case, 2, device))
    results: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in versions}
    with tempfile.TemporaryDirectory() as name:
        prepare(case, Path(name))
        task = workers.task_of(case, arms, Path(name), formats, device.type)
        for number in range(rounds):
            # the other comes first in the next round
            for version in sorted(versions, reverse=bool(number % 2)):
                print(f"steps of {version}, {case}", flush=True)
                done = workers.answer(workers.start(task, versions[version]))
                results[version].append(done["results"])
    rows = []
    for place, arm in enumerate(arms):
        by_version = {
            version: summary(arm, [each[place] for each in rounds_of])
            for version, rounds_of in results.items()
        }
        rows.append({"arm": str(arm), **by_version})
    return {"case": str(case), "rows": rows}


def tables(results: dict[str, Any]) -> str:
    """A row a method: the time now against the parent's, and each against its own floor.

    A version's floor runs in its process, and gains where all that runs there does.
    """
    parts = [f"Parent: `{results['parent']}`."]
    for case in results["cases"]:
        rows = []
        for row in case["rows"]:
            now, parent = row["now"], row["parent"]
            ratio = now["seconds"] / parent["seconds"]
            rows.append([row["arm"], now["ratio"], parent["ratio"], ratio])
        head = ["method", "now / its floor", "parent / its floor", "now / parent"]
        parts += [case["case"], table(head, rows)]
    return "\n\n".join(parts)


def median_ratio(now: list[float], parent: list[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(now) / statistics.median(parent)
