"""The tables of docs/benchmarks.md and docs/benchmarks-full.md, from the CSV files alone."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from bench.page import table, write_between

from solo_rekd.compare.report.summary import difference, spread
from study.figures import NOT_RUN, UNTRAINED, by_seed, gap_closed, runs_of, signed, teachers_figure
from study.pictures import FIRST, numbers_of, picture_of
from study.plan import RATES, Plan
from study.rates import asked_rates, best_rate, found_rates
from study.rows import TEACHER, Row, read_rows

PAGE, FULL_PAGE = "benchmarks.md", "benchmarks-full.md"
FULL, SEARCH, GAINS = "full", "search", "gains"
OURS = "rekd"
TESTED = "test"
LINEAR, KNN = "linear_cached", "knn"
APART = ("tau", "target", "sharp", "key", "mixup", "head", "lr", "queue")  # from the relation
TITLES = {"first": "First table", "second": "Second table", "third": "Third table"}
HEAD = (
    *("arm", "lr", "seeds", "linear", "above the first arm", "kNN", "above the first arm"),
    *("linear, host", "3 per class", "1 %", "gap closed: linear", "gap closed: kNN", "minutes"),
)


def write_tables(plan: Plan, results: Path, docs: Path) -> None:
    """Writes every table between its marks.

    Args:
        plan: the study, which says what the tables show.
        results: folder of the CSV files.
        docs: folder of the pages.

    Raises:
        SystemExit: a page lacks a place, or an arm has runs of several settings.
    """
    tested, swept = (read_rows(results / f"{name}.csv") for name in (TESTED, RATES))
    for name in plan.tables:
        write_between(docs / PAGE, name, overview(plan, tested, name))
    write_between(docs / PAGE, GAINS, gains(plan, tested))
    write_between(docs / PAGE, RATES, rates(plan, swept))
    write_between(docs / PAGE, SEARCH, search(results / f"{SEARCH}.csv"))
    texts = [full(plan, tested, name) for name in plan.tables]
    write_between(docs / FULL_PAGE, FULL, "\n\n".join(texts))


def overview(plan: Plan, rows: Sequence[Row], name: str) -> str:
    """A table a data set and teacher: arms by students, linear and kNN."""
    texts, drawn = [], set()
    for dataset, teacher, students in plan.places():
        if name == FIRST and dataset not in drawn and numbers_of(plan, rows, dataset):
            texts.append(f"![kNN of every arm and student on {dataset}]({picture_of(dataset)})")
        drawn.add(dataset)
        lines = []
        for arm in [*(arm for group in plan.tables[name] for arm in group), TEACHER]:
            found = [runs_of(rows, dataset, student, arm, teacher) for student in students]
            if any(found):
                lines.append([f"`{arm}`", *map(both, found)])
        title = f"{dataset}, teacher `{teacher}`; linear / kNN, top-1 in percent, mean over seeds:"
        shown = table(["arm", *students], lines) if lines else NOT_RUN
        texts.append(f"{title}\n\n{shown}")
    return "\n\n".join(texts)


def gains(plan: Plan, rows: Sequence[Row]) -> str:
    """A table a data set and teacher: how far ReKD is above each other arm, by students."""
    texts = []
    for dataset, teacher, students in plan.places():
        ours = [runs_of(rows, dataset, student, OURS, teacher) for student in students]
        lines = []
        for arm in plan.arms:
            others = [runs_of(rows, dataset, student, arm, teacher) for student in students]
            cells = [gain(*runs) for runs in zip(ours, others, strict=True)]
            if arm != OURS and any(cells):
                lines.append([f"`{arm}`", *(cell or NOT_RUN for cell in cells)])
        if lines:
            title = f"{dataset}, teacher `{teacher}`:"
            texts.append(f"{title}\n\n{table(['`rekd` above', *students], lines)}")
    return "\n\n".join(texts) or NOT_RUN


def gain(ours: Sequence[Row], others: Sequence[Row]) -> str:
    """How far one arm is above another, linear and kNN in a cell; bold where 0 is left out."""
    texts = []
    for figure in (LINEAR, KNN):
        found = difference(by_seed(ours, figure), by_seed(others, figure))
        if found is not None:
            apart = found.ahead or found.behind
            texts.append(f"**{signed(found)}**" if apart else signed(found))
    return " / ".join(texts)


def both(runs: Sequence[Row]) -> str:
    """Linear and kNN in one cell."""
    found = [spread(by_seed(runs, figure).values()) for figure in (LINEAR, KNN)]
    return " / ".join(each.text(1).split()[0] for each in found if each) or NOT_RUN


def full(plan: Plan, rows: Sequence[Row], name: str) -> str:
    """A table a data set, teacher and student that has a run: every figure of every arm."""
    texts = [f"## {TITLES.get(name, name)}"]
    for dataset, teacher, students in plan.places():
        for student in students:
            lines = [
                line_of(rows, dataset, student, teacher, arm, group[0])
                for group in plan.tables[name]
                for arm in group
            ]
            lines.append(line_of(rows, dataset, student, teacher, TEACHER, TEACHER))
            title = f"### {dataset}, `{student}`, teacher `{teacher}`"
            ran = any(NOT_RUN not in line for line in lines)
            texts.append(f"{title}\n\n{table(HEAD, lines) if ran else NOT_RUN}")
    return "\n\n".join(texts)


def line_of(
    rows: Sequence[Row], dataset: str, student: str, teacher: str, arm: str, first: str
) -> list[str]:
    """An arm's line of the full table, compared with the first arm of its group."""
    runs, others, untrained = (
        runs_of(rows, dataset, student, name, teacher) for name in (arm, first, UNTRAINED)
    )
    if not runs:
        return [f"`{arm}`", NOT_RUN, *[""] * (len(HEAD) - 2)]
    cells, gaps = [f"`{arm}`", runs[0]["lr"], str(len(runs))], []
    for figure in (LINEAR, KNN):
        own = by_seed(runs, figure)
        cells.append(text_of(runs, figure))
        cells.append("" if arm == first else signed(difference(own, by_seed(others, figure))))
        top = teachers_figure(rows, dataset, student, teacher, figure)
        share = gap_closed(own, by_seed(untrained, figure), top)
        gaps.append("" if share is None or arm in (TEACHER, UNTRAINED) else f"{share:.0f} %")
    cells += [text_of(runs, figure) for figure in ("linear_host", "few_label", "few_label_1pct")]
    minutes = by_seed(runs, "minutes").values()
    return [*cells, *gaps, f"{fmean(minutes):.1f}" if minutes else ""]


def text_of(runs: Sequence[Row], figure: str) -> str:
    """A figure's mean ± standard deviation over seeds."""
    found = spread(by_seed(runs, figure).values())
    return found.text() if found else ""


def rates(plan: Plan, rows: Sequence[Row]) -> str:
    """The learning rates that were swept, the best of each in bold."""
    texts = []
    for dataset, teacher, students in plan.places():
        for student in students:
            lines = []
            for arm in plan.arms.values():
                if not arm.rates or not arm.is_swept:
                    continue
                where = dataset, student, arm.name, teacher
                best = best_rate(plan, rows, *where[:2], arm.name, teacher)
                found = found_rates(rows, dataset, student, arm.name, teacher)
                asked = asked_rates(arm.rates, found)
                cells = [rate_of(rows, *where, rate, best) for rate in asked]
                if any(cells):
                    lines.append([f"`{arm.name}`", "; ".join(filter(None, cells))])
            if lines:
                title = f"{dataset}, `{student}`, teacher `{teacher}`:"
                head = ["arm", "learning rate: linear / kNN"]
                texts.append(f"{title}\n\n{table(head, lines)}")
    return "\n\n".join(texts) or NOT_RUN


def rate_of(
    rows: Sequence[Row],
    dataset: str,
    student: str,
    arm: str,
    teacher: str,
    lr: str,
    best: str | None,
) -> str:
    """What one learning rate of a sweep came to; nothing where it was not run."""
    place = dataset, student, arm, lr
    for row in rows:
        here = row["dataset"], row["student"], row["arm"], row["lr"]
        if here == place and row["teacher"] in ("", teacher):
            text = f"{lr}: {row[LINEAR]} / {row[KNN]}"
            return f"**{text}**" if lr == best else text
    return ""


def search(path: Path) -> str:
    """Everything that was tried of the relation, a line a form, in the file's order.

    Differences are to the control of a form, the same without a relation, seed by seed.
    """
    if not path.exists():
        return NOT_RUN
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    groups: dict[tuple[str, ...], list[Row]] = {}
    keys = ("dataset", "student", "epochs", "form")
    for row in lines:
        groups.setdefault(tuple(row[name] for name in keys), []).append(row)
    shown = []
    for group, runs in sorted(groups.items(), key=lambda item: item[0][:3]):
        control = control_of(group[-1])
        others = groups.get((*group[:-1], control), []) if control != group[-1] else []
        cells = [*group[:-1], f"`{group[-1]}`", str(len(runs))]
        for figure in (LINEAR, KNN):
            gain = difference(by_seed(runs, figure), by_seed(others, figure))
            cells += [text_of(runs, figure), signed(gain)]
        pure = text_of(runs, "purity") if others else ""
        shown.append([*cells, pure, f"{fmean(by_seed(runs, 'minutes').values()):.1f}"])
    head = ("linear", "above the control", "kNN", "above the control", "purity", "minutes")
    return table([*keys, "seeds", *head], shown)


def control_of(form: str) -> str:
    """The form without a relation that a form is to be compared with."""
    kept = [part for part in form.split("+") if part.partition("=")[0] in APART]
    return "+".join(["own=1", *kept])
