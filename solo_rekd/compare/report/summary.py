"""Summarises arms: their runs, and each figure's mean and spread over seeds."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from solo_rekd.compare.arms import STARTING, UNTRAINED
from solo_rekd.objectives import OBJECTIVES

MISSING = "\N{EN DASH}"
CONFIDENCE = 0.95
SUPERVISED = (
    "relation=labels",
    "gradient_task=labels",
)  # settings through which labels reach a student


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: mean of all values.
        sd: sample standard deviation (divided by n - 1); None for a single value.
        values: one per seed, in the runs' order.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]

    def over(self, scale: float) -> "Spread":
        """Returns the spread in units of `scale`."""
        values = tuple(value / scale for value in self.values)
        return Spread(self.mean / scale, None if self.sd is None else self.sd / scale, values)

    def text(self, digits: int = 2) -> str:
        """Writes "mean ± sd", or the mean alone where there is one value."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.sd is None else f"{mean} ± {self.sd:.{digits}f}"


@dataclass(frozen=True)
class Difference:
    """How far one arm is above another, paired by seed.

    Attributes:
        mean: mean over the seeds that both have.
        low: lower end of its Student's t interval, at `CONFIDENCE`; None for a single seed.
        high: upper end of that interval; None for a single seed.
        seeds: number of seeds that both have.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def ahead(self) -> bool:
        """Whether the interval is above 0."""
        return self.low is not None and self.low > 0

    @property
    def behind(self) -> bool:
        """Whether the interval is below 0."""
        return self.high is not None and self.high < 0

    def text(self) -> str:
        """Writes "9.00 points [7.51, 10.49]", without an interval for a single seed."""
        points = f"{abs(self.mean):.2f} points"
        if self.low is None or self.high is None:
            return points
        ends = (-self.high, -self.low) if self.mean < 0 else (self.low, self.high)
        return "{} [{:.2f}, {:.2f}]".format(points, *ends)


@dataclass(frozen=True)
class Arm:
    """One method with its settings, and its finished runs.

    Attributes:
        name: the arm as the user wrote it.
        distils: whether its method learns from a teacher.
        runs: its finished runs, in the comparison's order.
    """

    name: str
    distils: bool
    runs: tuple[dict[str, Any], ...]

    @property
    def supervised(self) -> bool:
        """Whether it learns from labels."""
        return not set(SUPERVISED).isdisjoint(self.name.split("+"))

    @property
    def competes(self) -> bool:
        """Whether it is ranked: an untrained student or one trained with labels is only a bound."""
        return not self.untrained and not self.supervised

    @property
    def untrained(self) -> bool:
        """Whether it is the student before any training."""
        return self.name in (UNTRAINED, STARTING)

    def spread(self, path: str) -> Spread | None:
        """Summarises a figure, such as "knn.top1", over the runs that have it."""
        return spread(figure(run, path) for run in self.runs)

    def by_seed(self, path: str) -> dict[int, float]:
        """Lists a figure by seed, for the runs that have it."""
        found = {run["seed"]: figure(run, path) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}


def figure(run: dict[str, Any], path: str) -> Any:
    """Looks up a dotted path in a run; None where any part of it is missing."""
    value: Any = run
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def spread(values: Iterable[float | None]) -> Spread | None:
    """Summarises the values that are not None; None where there are none."""
    found = tuple(float(value) for value in values if value is not None)
    if not found:
        return None
    sd = statistics.stdev(found) if len(found) > 1 else None
    return Spread(statistics.fmean(found), sd, found)


def paired(first: Arm, second: Arm, path: str) -> Difference | None:
    """Compares a figure of two arms, paired by seed; None where they share no seed."""
    return difference(first.by_seed(path), second.by_seed(path))


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Compares figures by seed, paired; None where they share no seed."""
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    if len(gaps) == 1:
        return Difference(mean, None, None, 1)
    from scipy import stats  # it takes a second to import, and only a report needs it

    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1))
    reach = quantile * statistics.stdev(gaps) / len(gaps) ** 0.5
    return Difference(mean, mean - reach, mean + reach, len(gaps))


def list_arms(comparison: dict[str, Any]) -> list[Arm]:
    """Lists the arms in order, each with its finished runs."""
    return [
        Arm(
            arm["name"],
            arm["method"] in OBJECTIVES,
            tuple(run for run in comparison["runs"] if run["arm"] == arm["name"]),
        )
        for arm in comparison["arms"]
    ]


def list_runs(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists every finished run, the shared teacher's first."""
    teacher = comparison["teacher"]
    return [*([teacher] if teacher else []), *comparison["runs"]]


def teacher_arm(comparison: dict[str, Any]) -> Arm | None:
    """The shared teacher as an arm of one run; None where there is none."""
    run = comparison["teacher"]
    return run and Arm("teacher", False, (run,))


def curve(arm: Arm, metric: str) -> dict[int, Spread]:
    """Summarises a metric of the training by epoch, counted from 1; empty where no run has it."""
    epochs: dict[int, list[float | None]] = {}
    for run in arm.runs:
        for line in run.get("history") or ():
            epochs.setdefault(line["epoch"] + 1, []).append(line.get(metric))
    found = {epoch: spread(values) for epoch, values in sorted(epochs.items())}
    return {epoch: values for epoch, values in found.items() if values is not None}


def distinct(comparison: dict[str, Any], path: str) -> list[Any]:
    """Lists the distinct values that the runs have for a setting, in order."""
    found = (figure(run, path) for run in comparison["runs"])
    return list(dict.fromkeys(value for value in found if value is not None))
