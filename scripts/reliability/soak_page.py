"""What a soak's looks say: how fast memory grows, what was left, and the table of the docs."""

import itertools
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from bench.page import table
from scipy import stats

from reliability.soak_rows import Left, Sample, Soak

PAGE, PLACE = "reliability.md", "soak"
BLOCKS = 10  # means of so many parts stand for the looks: two that follow each other are alike
# of the time, and of the training, in which caches and allocators fill
START, WARM = 0.1, 2
CONFIDENCE = 0.95
MEBI = 2**20
# bytes per hour: what the history's lines in memory come to is far below, a lost batch far above
GROWTH = 16 * MEBI


class Slope(NamedTuple):
    """How fast a figure grows.

    Attributes:
        mean: per hour.
        low: lower end of its interval.
        high: upper end of it.
    """

    mean: float
    low: float
    high: float


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """The looks after the first tenth of the time and the second epoch."""
    end = samples[-1].seconds if samples else 0
    return [look for look in samples if look.seconds > START * end and look.epochs >= WARM]


def slope(samples: Sequence[Sample], name: str = "memory") -> Slope | None:
    """How fast a figure grows per hour after the first tenth of the time, with a 95 % interval.

    A line is laid through the means of ten parts of equal length, whose errors are nearly
    independent, as those of two looks in a row are not. None: there are too few looks.
    """
    looks = settled(samples)
    if len(looks) < BLOCKS:
        return None
    ends = [len(looks) * place // BLOCKS for place in range(BLOCKS + 1)]
    parts = [looks[begin:end] for begin, end in itertools.pairwise(ends)]
    hours = [fmean(look.seconds for look in part) / 3600 for part in parts]
    means = [fmean(getattr(look, name) for look in part) for part in parts]
    line = stats.linregress(hours, means)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, BLOCKS - 2) * line.stderr
    return Slope(line.slope, line.slope - half, line.slope + half)


def judge(samples: Sequence[Sample], left: Left) -> list[str]:
    """Says what leaks, a line each; nothing where nothing does."""
    found = []
    memory, looks = slope(samples), settled(samples)
    if memory is not None and memory.low > GROWTH:
        found.append(
            f"the memory of the training grows by at least {memory.low / MEBI:.1f} MiB an hour"
        )
    for name in ("handles", "threads"):
        counts = [getattr(look, name) for look in looks]
        third = len(counts) // 3  # what comes and goes within an epoch is in each of them
        first, last = counts[:third], counts[-third:]
        if first and min(last) > max(first):
            found.append(f"the training's {name} grow from {max(first)} to {min(last)} and more")
    for what, number in (
        ("processes are", left.processes),
        ("temporary files are", left.temporary),
        ("files in shared memory are", left.shared),
    ):
        if number:
            found.append(f"{number} {what} left")
    return found


def sentence(samples: Sequence[Sample], left: Left) -> str:
    """The outcome in a line."""
    memory = slope(samples)
    grows = "too few looks for a slope" if memory is None else f"memory {shown(memory)}"
    return (
        f"{samples[-1].epochs if samples else 0} epochs, "
        f"{samples[-1].comparisons if samples else 0} comparisons; {grows}; left: "
        f"{left.processes} processes, {left.temporary} temporary files, "
        f"{left.shared} files in shared memory"
    )


def shown(memory: Slope) -> str:
    """A slope of memory as text."""
    mean, low, high = (value / MEBI for value in memory)
    return f"{mean:+.1f} MiB per hour ({low:+.1f} to {high:+.1f})"


def span(samples: Sequence[Sample], name: str) -> str:
    """The least and the most of a figure after the first tenth."""
    counts = [getattr(look, name) for look in settled(samples)]
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def tables(runs: Sequence[tuple[Soak, Sequence[Sample]]]) -> str:
    """The table of all runs, a column per host."""
    rows: dict[str, list[str]] = {}
    for run, samples in runs:
        memory, looks = slope(samples), settled(samples)
        cells = {
            "minutes": f"{samples[-1].seconds / 60:.0f}",
            "epochs, each with a checkpoint": f"{samples[-1].epochs:,}",
            "comparisons beside it": str(samples[-1].comparisons),
            "resident memory of the training, MiB": f"{fmean(x.memory for x in looks) / MEBI:.0f}",
            "its growth, 95 % interval": shown(memory) if memory else "too few looks",
            "open handles": span(samples, "handles"),
            "threads": span(samples, "threads"),
            "processes that loaded images": span(samples, "children"),
            "temporary files, at most": str(max(look.temporary for look in samples)),
            "left at the end: processes": str(run.left.processes),
            "left: temporary files": str(run.left.temporary),
            "left: files in shared memory": str(run.left.shared),
            "what went wrong": "; ".join(run.faults) or "nothing",
            "package, machine": f"{run.commit}, {run.processor}, {run.cores} cores",
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    head = ["", *(f"solo-learn, {run.host}" for run, _ in runs)]
    return table(head, [[name, *cells] for name, cells in rows.items()])
