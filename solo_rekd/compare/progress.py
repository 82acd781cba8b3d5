"""How far a comparison is and how long it will take."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any


@dataclass(frozen=True)
class RunProgress:
    """How far one run is.

    Attributes:
        arm: runs of one arm cost alike.
        done: fraction of the run, in [0, 1].
        cost: seconds of the whole run, where something tells them.
        running: whether a process is at it.
        stage: what it does.
    """

    arm: str
    done: float = 0.0
    cost: float | None = None
    running: bool = False
    stage: str = "waiting"


def finished_cost(result: Mapping[str, Any]) -> float:
    """Seconds of a whole run, interruptions included, from its result."""
    parts = (result["pretrain"], result["linear_host"], result["linear_cached"], result["knn"])
    return sum(part["seconds"] for part in parts if part)


def running_cost(progress: dict[str, Any], start: float) -> float | None:
    """Seconds of a whole run, from what a process has done of it.

    Args:
        progress: `done` and `seconds` as the process says them.
        start: `done` when the process began.
    """
    own = progress["done"] - start
    return progress["seconds"] / own if own > 0 else None


def remaining_seconds(runs: Sequence[RunProgress], jobs: int) -> float | None:
    """How long all runs take from now.

    A run whose cost is not known costs what others of its arm do, else the mean of all known.

    Args:
        runs: finished, running, and waiting in the order in which they are to start.
        jobs: how many run side by side.

    Returns:
        Seconds; None as long as no cost is known.
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
    """One line: runs done, time left, and what is running.

    Args:
        runs: see `remaining_seconds`.
        jobs: the same.
        names: of the runs.
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
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
