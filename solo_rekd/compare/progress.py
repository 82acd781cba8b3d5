"""The progress of a comparison, and how long it will take."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any


@dataclass(frozen=True)
class RunProgress:
    """The progress of one run.

    Attributes:
        arm: its arm, whose runs take similar times.
        done: fraction of the run that is done, in [0, 1].
        cost: seconds of the whole run, if known.
        running: whether it is running.
        stage: its current stage.
    """

    arm: str
    done: float = 0.0
    cost: float | None = None
    running: bool = False
    stage: str = "waiting"


def finished_cost(result: Mapping[str, Any]) -> float:
    """Returns the seconds of a whole run, interruptions included, from its result."""
    parts = (result["pretrain"], result["linear_host"], result["linear_cached"], result["knn"])
    return sum(part["seconds"] for part in parts if part)


def running_cost(progress: dict[str, Any], start: float) -> float | None:
    """Estimates the seconds of a whole run from the part that a process has done.

    Args:
        progress: `done` and `seconds` as the process reports them.
        start: `done` when the process began.
    """
    own = progress["done"] - start
    return progress["seconds"] / own if own > 0 else None


def remaining_seconds(runs: Sequence[RunProgress], jobs: int) -> float | None:
    """Estimates how long all runs take from now.

    A run whose cost is not known is taken to cost what its arm's others do, else the mean of all.

    Args:
        runs: finished, running and waiting runs, in the order in which they start.
        jobs: number of runs at a time.

    Returns:
        Seconds; None while no cost is known.
    """
    known: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.cost is not None:
            known[run.arm].append(run.cost)
    if not known:
        return None
    typical = mean(cost for costs in known.values() for cost in costs)

    def left(run: RunProgress) -> float:
        if run.cost is not None:
            return (1 - run.done) * run.cost
        return (1 - run.done) * (mean(known[run.arm]) if run.arm in known else typical)

    free_at = sorted(left(run) for run in runs if run.running)
    free_at += [0.0] * (jobs - len(free_at))
    heapq.heapify(free_at)
    for run in runs:
        if not run.running and run.done < 1:
            heapq.heappush(free_at, heapq.heappop(free_at) + left(run))
    return max(free_at)


def describe(runs: Sequence[RunProgress], jobs: int, names: Sequence[str]) -> str:
    """Writes one line: runs done, time left, and what is running.

    Args:
        runs: see `remaining_seconds`.
        jobs: see `remaining_seconds`.
        names: names of the runs.
    """
    left = remaining_seconds(runs, jobs)
    eta = "unknown" if left is None else clock(left)
    finished = sum(run.done >= 1 for run in runs)
    active = [
        f"{name}: {run.stage} {run.done:.0%}"
        for name, run in zip(names, runs, strict=True)
        if run.running
    ]
    return f"{finished}/{len(runs)} runs, ETA {eta}; {', '.join(active)}"


def clock(seconds: float) -> str:
    """Writes seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
