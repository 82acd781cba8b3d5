"""The table of arms: its columns, and its lines on a terminal."""

from dataclasses import dataclass
from typing import Any

from solo_rekd.compare.judge import GAP, JUDGES
from solo_rekd.compare.report.summary import MISSING, Arm, distinct, list_arms, teacher_arm

GIB = 2**30
HOST, CACHED, COST = "linear, host's harness", "linear, cached features", "pretraining"
FEW = "few labels, cached features"


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        group: heading of its group of columns.
        heading: its own heading, with the unit.
        path: dotted path of the figure in a run.
        digits: digits after the point.
        scale: number that the figure is divided by.
        best: whether the highest mean is highlighted.
    """

    group: str
    heading: str
    path: str
    digits: int = 2
    scale: float = 1.0
    best: bool = False

    def text(self, arm: Arm) -> str:
        """Writes an arm's figure, or a dash."""
        found = arm.spread(self.path)
        return found.over(self.scale).text(self.digits) if found else MISSING


def columns(comparison: dict[str, Any]) -> list[Column]:
    """Lists the columns of the page's table; peak GPU memory only where a run has it."""
    knn = f"kNN (k = {setting(comparison, 'knn.k')}, T = {setting(comparison, 'knn.temperature')})"
    times = [arm.spread("pretrain.seconds") for arm in list_arms(comparison)]
    unit, seconds = time_unit(max((time.mean for time in times if time), default=0.0))
    memory = [("peak RAM, GiB", "pretrain.peak_memory_bytes")]
    if distinct(comparison, "pretrain.peak_gpu_bytes"):
        memory.append(("peak GPU, GiB", "pretrain.peak_gpu_bytes"))
    return [
        Column(HOST, "top-1, %", "linear_host.top1", best=True),
        Column(HOST, "top-5, %", "linear_host.top5"),
        Column(CACHED, "top-1, %", "linear_cached.top1", best=True),
        Column(CACHED, "top-5, %", "linear_cached.top5"),
        Column(knn, "top-1, %", "knn.top1", best=True),
        Column(knn, "top-5, %", "knn.top5"),
        Column(FEW, "3 per class: top-1, %", "few_label.top1", best=True),
        Column(FEW, "1 %: top-1, %", "few_label_1pct.top1", best=True),
        *gap_columns(comparison, "gap to the teacher", "closed, %"),
        Column(COST, f"time, {unit}", "pretrain.seconds", 1, seconds),
        Column(COST, "images/s", "pretrain.images_per_second", 0),
        *(Column(COST, heading, path, 2, GIB) for heading, path in memory),
    ]


def gap_columns(comparison: dict[str, Any], group: str, heading: str) -> list[Column]:
    """Lists the column of the share of the gap to the teacher closed, if any run has it."""
    path = f"{GAP}.percent"
    return [Column(group, heading, path, 0, best=True)] if distinct(comparison, path) else []


def setting(comparison: dict[str, Any], path: str) -> str:
    """Writes every value of a setting that the runs should share."""
    return " / ".join(f"{value:g}" for value in distinct(comparison, path)) or MISSING


def time_unit(seconds: float) -> tuple[str, float]:
    """Chooses the unit for times up to `seconds`: its name and its seconds."""
    if seconds < 120:
        return "s", 1.0
    return ("min", 60.0) if seconds < 7200 else ("h", 3600.0)


def list_protocols(comparison: dict[str, Any]) -> list[str]:
    """Lists how the accuracies were measured, as the runs recorded it."""
    stages = ("linear_host", "linear_cached", "knn", "few_label", "few_label_1pct")
    told = [text for stage in stages for text in distinct(comparison, f"{stage}.protocol")]
    judges = distinct(comparison, f"{GAP}.judge")
    return [
        *told,
        *(
            f"gap closed: 0 is the untrained student of the same seed, 100 the teacher, by {name}"
            for name in map(JUDGES.__getitem__, judges)
        ),
    ]


def table_lines(comparison: dict[str, Any]) -> list[str]:
    """Writes the terminal's table: a line per arm, then how the accuracies were measured.

    Args:
        comparison: data that the report is made from.

    Returns:
        The lines. Accuracies are top-1 in percent, mean ± sd over seeds.
    """
    shown = [
        Column("", "linear (host)", "linear_host.top1"),
        Column("", "linear (cached)", "linear_cached.top1"),
        Column("", "kNN", "knn.top1"),
        Column("", "3 per class", "few_label.top1"),
        Column("", "1 %", "few_label_1pct.top1"),
        *gap_columns(comparison, "", "gap closed, %"),
        Column("", "seconds", "pretrain.seconds", 0),
        Column("", "images/s", "pretrain.images_per_second", 0),
    ]
    teacher = teacher_arm(comparison)
    arms = [*list_arms(comparison), *([teacher] if teacher else [])]
    rows = [["arm", "seeds", *(column.heading for column in shown)]]
    rows += [[arm.name, str(len(arm.runs)), *(c.text(arm) for c in shown)] for arm in arms]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
        for name, *cells in rows
    ]
    return [*lines, *list_protocols(comparison)]
