"""Part `steps`: every method's whole step in the host's trainer, against its floor."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench import cases
from bench.cases import Arm, Case
from bench.floor import compare_formats, faster
from bench.host_step import medians, prepare, run_steps
from bench.page import table

LIMIT = 1.05  # of the floor: a row above it is explained by its sections
CONTIGUOUS = ("--memory_format", "contiguous")
HALF = ("--precision", "bf16")
COMPILED = ("--compile",)


def measure(device: torch.device, quick: bool) -> dict[str, Any]:
    """Measures the methods at two sizes, and further settings at the smaller one."""
    if quick:
        return {"cases": [measure_case(cases.TINY, [cases.MOCO, cases.SEED], device)]}
    small = [*cases.METHODS, *cases.VARIANTS]
    for arm in (cases.MOCO, cases.SEED, cases.REKD):
        small.append(replace(arm, flags=CONTIGUOUS, note="default memory format"))
    small.append(replace(cases.SEED, flags=HALF, note="bf16"))
    large = [arm for arm in cases.METHODS]
    return {
        "cases": [
            measure_case(cases.SMALL, small, device),
            measure_case(cases.LARGE, large, device),
        ]
    }


def measure_compiled(device: torch.device, quick: bool) -> dict[str, Any]:
    """Measures `--compile`, whose compiling takes minutes."""
    arms = [cases.MOCO, cases.SEED, cases.REKD]
    arms += [replace(arm, flags=COMPILED, note="compiled") for arm in arms]
    case = cases.TINY if quick else cases.SMALL
    return {"cases": [measure_case(case, arms, device)]}


def measure_case(case: Case, arms: Sequence[Arm], device: torch.device) -> dict[str, Any]:
    """Measures methods in turns, each with its floor in the faster memory format."""
    formats = compare_formats(case, max(2, case.steps), device)
    found: list[list[dict[str, Any]]] = [[] for _ in arms]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(case, folder)
        for _ in range(case.rounds):
            for arm, results in zip(arms, found, strict=True):
                print(f"step of {arm}, {case}", flush=True)
                results.append(run_steps(case, arm, folder, faster(formats), device))
    rows = [summary(arm, results) for arm, results in zip(arms, found, strict=True)]
    networks = {"student": case.student, "teacher": case.teacher, "side": case.side}
    return {"case": str(case), "networks": networks, "formats": formats, "rows": rows}


def summary(arm: Arm, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row: medians of the steps and of their floors, and the median of their ratios.

    Args:
        arm: the method.
        results: of `run_steps`, one a round.
    """
    steps = [step for result in results for step in result["steps"]]
    floors = [floor for result in results for floor in result["floors"]]
    bare = [floor["student"] + floor.get("teacher", 0) for floor in floors]
    own = [sum(floor.values()) for floor in floors]
    sections = {name for result in results for name in result["sections"]}
    return {
        "arm": str(arm),
        "method": arm.method,
        "teacher": arm.teacher,
        "twin": arm.twin,
        "seconds": statistics.median(steps),
        "parts": medians(floors),
        "ratio": _ratio(steps, bare),
        "own_ratio": _ratio(steps, own),
        "sections": {
            name: statistics.median(result["sections"].get(name, 0.0) for result in results)
            for name in sorted(sections)
        },
    }


def _ratio(steps: Sequence[float], floors: Sequence[float]) -> float:
    """The median over the steps, each against the floor that ran right after it."""
    return statistics.median(step / floor for step, floor in zip(steps, floors, strict=True))


def tables(results: dict[str, Any]) -> str:
    """The tables of a part's results."""
    return "\n\n".join(_tables_of(case) for case in results["cases"])


def _tables_of(case: dict[str, Any]) -> str:
    formats = table(
        ["floor of one step, seconds", *case["formats"]["student"]],
        [
            ["student, forward and backward", *case["formats"]["student"].values()],
            ["teacher, forward", *case["formats"]["teacher"].values()],
        ],
    )
    rows = table(
        ["method", "seconds per step", "/ floor", "/ floor with its own parts"],
        [[row["arm"], row["seconds"], row["ratio"], row["own_ratio"]] for row in case["rows"]],
    )
    parts = [case["case"], formats, rows]
    above = [row for row in case["rows"] if row["ratio"] > LIMIT]
    if above:
        parts.append(f"Where the time of the rows above {LIMIT} goes, in units of the floor:")
        parts.append(sections_table(above))
    return "\n\n".join(parts)


def sections_table(rows: Sequence[dict[str, Any]]) -> str:
    """A row a method, a column a section; the cells of a row sum up to its ratio to the floor."""
    names = {name for row in rows for name in row["sections"]}

    def largest(name: str) -> float:
        return max(row["sections"].get(name, 0.0) for row in rows)

    shown = [name for name in sorted(names, key=lambda name: -largest(name))]
    return table(
        ["method", *shown],
        [
            [row["arm"], *(row["ratio"] * row["sections"].get(name, 0.0) for name in shown)]
            for row in rows
        ],
    )
