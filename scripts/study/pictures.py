"""The figure of a data set: kNN of the first table's arms, a panel a student, as SVG."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from solo_rekd.compare.report.summary import spread
from study.figures import by_seed, runs_of
from study.plan import Plan
from study.rows import TEACHER, Row

FIRST, FIGURE = "first", "knn"


def write_pictures(plan: Plan, rows: Sequence[Row], docs: Path) -> None:
    """Draws every data set that has a run; a figure of the same numbers stays as it is."""
    for dataset in plan.names("datasets"):
        path, numbers = docs / picture_of(dataset), numbers_of(plan, rows, dataset)
        digest = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()
        if numbers and not (path.exists() and digest in path.read_text(encoding="utf-8")):
            draw(numbers, path, digest)


def picture_of(dataset: str) -> str:
    """The file of a data set's figure."""
    return f"benchmarks-{dataset}.svg"


def numbers_of(
    plan: Plan, rows: Sequence[Row], dataset: str
) -> dict[str, list[tuple[str, list[float]]]]:
    """By student that has a run: the arms in the order of the table, and each one's figures."""
    teacher = plan.names("teachers")[0]
    found = {}
    for student in plan.names("students"):
        arms = [arm for group in plan.tables[FIRST] for arm in group]
        runs = {arm: runs_of(rows, dataset, student, arm, teacher) for arm in [*arms, TEACHER]}
        values = [(arm, list(by_seed(each, FIGURE).values())) for arm, each in runs.items()]
        if any(runs.values()):
            found[student] = values
    return found


def draw(numbers: dict[str, list[tuple[str, list[float]]]], path: Path, digest: str) -> None:
    """Draws means and standard deviations; `digest` of the numbers is kept in the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = digest
    height = 1 + 0.28 * max(map(len, numbers.values()))
    figure, panels = pyplot.subplots(
        1,
        len(numbers),
        figsize=(2 + 2.6 * len(numbers), height),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for panel, (student, arms) in zip(panels[0], numbers.items(), strict=True):
        for place, (arm, values) in enumerate(reversed(arms)):
            reached = spread(values)
            if reached is not None:
                colour = "#0072b2" if arm.startswith("rekd") else "#52606d"
                panel.errorbar(reached.mean, place, xerr=reached.sd, fmt="o", color=colour)
        panel.set_yticks(range(len(arms)), [arm for arm, _ in reversed(arms)])
        panel.set_title(student)
        panel.set_xlabel("kNN top-1, %")
        panel.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Date": None, "Description": digest})
    pyplot.close(figure)
