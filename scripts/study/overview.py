"""The short tables and figures: of the README, of choosing a method, of ReKD explained.

Their figures are those of docs/results; while the study has no tests there, those of the earlier
record. Costs are of docs/performance.json, published figures of docs/published.md.
"""

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from bench.page import table, write_between

from solo_rekd.compare.report.summary import difference
from study.figures import UNTRAINED, by_seed, runs_of
from study.rows import TEACHER, Row, read_rows
from study.tables import KNN, LINEAR, control_of

README, CHOICE, OVERVIEW = "README.md", "choosing-a-method.md", "overview"
EARLIER, PUBLISHED, PERFORMANCE = "benchmarks-earlier.md", "published.md", "performance.json"
PICTURE, RELATION = "overview.svg", "relation.svg"
DATASET, LITE = "cifar10", "lite0"
NONE, SLASH = "\N{EN DASH}", "\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}"
SECTIONS = {  # of the earlier record, by student
    "alexnet": "CIFAR-10 on two CPU cores: a pretrained teacher, three seeds",
    "mobilenet_v3_small": "A MobileNet",
    "efficientnet_b0": "An EfficientNet",
    "resnet18": "A ResNet-18",
}
EARLIER_NAMES = {"rekd": "$T", "disco": "disco+lr=0.003", TEACHER: "the frozen teacher"}
SHORT = {"untrained": "untrained", "mocov2plus": "MoCo v2+, no teacher", "rekd": "ReKD, a teacher"}
CHOICES = {  # what each is good for, and what it needs; the order of the table
    "mocov2plus": ("no teacher at hand: the yardstick", "nothing"),
    "rekd": ("images that fall into kinds: who is alike, and not only what", "an embedding"),
    "seed": ("a first try: one look at each view, few settings", "an embedding"),
    "compress": ("a teacher without a projector, of another width", "features"),
    "crcd": ("how images relate, where the time allows it", "an embedding"),
    "bingo": ("neighbours that the teacher finds once", "a frozen teacher, an embedding"),
    "disco": ("staying close to MoCo; a tenth of its learning rate", "an embedding"),
    "simreg": ("any teacher, no queue, no temperature; a higher rate", "features"),
    "coss": ("the same with batches of neighbours", "a frozen teacher, features"),
}
FEWEST = 3  # seeds of an arm that is shown
FIRST_ROW = "ResNet-18"  # of the published figures


class Reached(NamedTuple):
    """Means over seeds of one arm, top-1 in percent."""

    linear: float
    knn: float

    def text(self) -> str:
        """Both in one cell, which is not broken."""
        return f"{self.linear:.1f}{SLASH}{self.knn:.1f}"


class Figures(NamedTuple):
    """Of every student, each arm's.

    Attributes:
        by_student: student, arm, figures.
        is_earlier: whether they are of the earlier record.
        seeds: how many runs the means are of, at least.
    """

    by_student: dict[str, dict[str, Reached]]
    is_earlier: bool
    seeds: int


def read_table(text: str, *columns: str) -> dict[str, list[str]]:
    """The first table of a text that has the columns, by its first column.

    Raises:
        SystemExit: there is none.
    """
    for found in re.finditer(r"^\|.*\n\|[-| ]+\|\n(?:\|.*\n?)+", text, re.MULTILINE):
        lines = [cells(line) for line in found[0].splitlines()]
        head = lines[0]
        if set(columns) <= set(head):
            chosen = [head.index(name) for name in columns]
            return {line[0]: [line[place] for place in chosen] for line in lines[2:]}
    raise SystemExit(f"no table has the columns {', '.join(columns)}")


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_earlier(page: str) -> Figures:
    """The figures of the earlier record, on the test images."""
    found: dict[str, dict[str, Reached]] = {}
    for student, section in SECTIONS.items():
        text = page.partition(f" {section}\n")[2]
        lines = read_table(text, "linear, cached", "kNN", "minutes")
        found[student] = reached = {}
        for arm in (UNTRAINED, "simclr", TEACHER, *CHOICES):
            name = EARLIER_NAMES.get(arm, arm)
            for label, values in lines.items():
                if re.match(rf"`?{re.escape(name)}(?:\+lr=[\d.]+)?(?:`|$)", label):
                    reached[arm] = Reached(*(float(value.split()[0]) for value in values[:2]))
    return Figures(found, True, 3)


def read_tested(rows: Sequence[Row]) -> Figures:
    """The figures of the study, on the test images."""
    found: dict[str, dict[str, Reached]] = {}
    seeds = []
    for student in SECTIONS:
        for arm in (UNTRAINED, "simclr", TEACHER, *CHOICES):
            runs = runs_of(rows, DATASET, student, arm, LITE)
            values = [by_seed(runs, figure).values() for figure in (LINEAR, KNN)]
            enough = 1 if arm == TEACHER else FEWEST
            if min(map(len, values)) >= enough:
                found.setdefault(student, {})[arm] = Reached(*map(fmean, values))
                if arm != TEACHER:
                    seeds.append(len(runs))
    return Figures(found, False, min(seeds, default=0))


def read_figures(results: Path, docs: Path) -> Figures:
    """Those of the study once it has tested every method on a student, else the earlier ones."""
    path = results / "test.csv"
    if path.exists():
        found = read_tested(read_rows(path))
        if any({*SHORT, *CHOICES} <= set(arms) for arms in found.by_student.values()):
            return found
    return read_earlier((docs / EARLIER).read_text(encoding="utf-8"))


def short_table(found: Figures) -> str:
    """Three lines: the student untrained, by itself, and with a teacher."""
    students = [name for name, arms in found.by_student.items() if set(SHORT) <= set(arms)][:2]
    shown = found.by_student
    lines = [
        [
            title,
            *(shown[name][arm].text() for name in students),
        ]
        for arm, title in SHORT.items()
    ]
    return table(["linear / kNN, top-1 in percent", *(f"`{name}`" for name in students)], lines)


def steps(performance: Mapping[str, Any]) -> dict[str, list[str]]:
    """Seconds of a step as a multiple of `mocov2plus`'s, by method, at every size measured."""
    found: dict[str, list[str]] = {}
    for machine in performance.get("steps", {}).values():
        for case in machine["cases"]:
            rows = {
                row["method"]: row for row in reversed(case["rows"]) if "memory" not in row["arm"]
            }
            first = rows["mocov2plus"]["seconds"]
            for method in CHOICES:
                ratio = f"{rows[method]['seconds'] / first:.2f}" if method in rows else NONE
                found.setdefault(method, []).append(ratio)
    return found


def published(page: str) -> dict[str, str]:
    """ResNet-18's linear top-1 on ImageNet by method, of the first published line that has it."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    head = next(cells(line) for line in lines if "MoCo v2" in line)
    found: dict[str, str] = {}
    for line in lines:
        row = cells(line)
        if row[0] != FIRST_ROW:
            continue
        texts = {name.lower(): cell for name, cell in zip(head[2:], row[2:], strict=True)}
        texts["mocov2plus"] = texts["moco v2"]
        for method in CHOICES:
            inside = re.search(rf"\b{method} (\d\d\.\d)", texts["others"], re.IGNORECASE)
            found_here = re.findall(r"\d\d\.\d", re.sub(r"\(.*?\)", "", texts.get(method, "")))
            figure = inside[1] if inside else max(found_here, default="")
            if figure:
                found.setdefault(method, figure)
    return found


def choice_table(found: Figures, docs: Path) -> str:
    """A line a method: what it is good for, what it needs, what a step costs, what it reached."""
    performance = json.loads((docs / PERFORMANCE).read_text(encoding="utf-8"))
    costs, papers = steps(performance), published((docs / PUBLISHED).read_text(encoding="utf-8"))
    arms = found.by_student["alexnet"]
    lines = []
    for method, (use, needs) in CHOICES.items():
        reached = arms.get(method)
        here = reached.text() if reached else NONE
        cost = SLASH.join(costs.get(method, [NONE]))
        lines.append([f"`{method}`", use, needs, cost, here, papers.get(method, NONE)])
    head = ["method", "good for", "of the teacher it needs", "a step", "small data", "ImageNet"]
    return table(head, lines)


def says(found: Figures, page: str) -> str:
    """Where the figures are from."""
    if found.is_earlier:
        return f"of an [earlier measurement]({page}{EARLIER})"
    return f"of the [study]({page}benchmarks.md)"


def write_overview(results: Path, docs: Path) -> None:
    """Writes the short tables between their marks, and the figures."""
    found = read_figures(results, docs)
    more = "" if found.is_earlier else " or more"
    caption = f"Means over {found.seeds} seeds{more} {says(found, 'docs/')}."
    readme = f"{short_table(found)}\n\n{caption}"
    write_between(docs.parent / README, OVERVIEW, readme)
    small = f"Small data: {says(found, '')}."
    write_between(docs / CHOICE, OVERVIEW, f"{choice_table(found, docs)}\n\n{small}")
    draw_once(docs / PICTURE, found.by_student, draw_overview)
    gains = relation_gains(results / "search.csv")
    draw_once(docs / RELATION, gains, draw_relation)


class Gain(NamedTuple):
    """What a form of the relation adds to its control, in points of kNN."""

    place: str
    form: str
    purity: float
    linear: float
    knn: float


def relation_gains(path: Path) -> list[Gain]:
    """Each form of the search against its control, seed by seed, with the relation's purity."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in lines:
        groups.setdefault((row["dataset"], row["student"], row["form"]), []).append(row)
    found = []
    for (dataset, student, form), runs in groups.items():
        others = groups.get((dataset, student, control_of(form)), [])
        pure = list(by_seed(runs, "purity").values())
        gains = [difference(by_seed(runs, name), by_seed(others, name)) for name in (LINEAR, KNN)]
        if "relation=" in form and all(gains) and pure:
            linear, knn = (gain.mean for gain in gains if gain)
            found.append(Gain(f"{dataset}, {student}", form, fmean(pure), linear, knn))
    return found


def draw_once(path: Path, numbers: Any, draw: Any) -> None:
    """Draws a figure where its numbers have changed; their digest stands in the file."""
    digest = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()
    if path.exists() and digest in path.read_text(encoding="utf-8"):
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = digest
    figure = draw(numbers, pyplot)
    figure.savefig(path, metadata={"Date": None, "Description": digest})
    pyplot.close(figure)


def draw_overview(by_student: Mapping[str, Mapping[str, Reached]], pyplot: Any) -> Any:
    """A panel a student: linear top-1 of the arms, and the teacher's as a line."""
    shown = {"untrained": "untrained", "mocov2plus": "MoCo v2+", "seed": "SEED", "rekd": "ReKD"}
    figure, panels = pyplot.subplots(
        1, len(by_student), figsize=(9, 2.6), sharey=True, squeeze=False, layout="constrained"
    )
    teacher = next((arms[TEACHER] for arms in by_student.values() if TEACHER in arms), None)
    for panel, (student, arms) in zip(panels[0], by_student.items(), strict=True):
        names = [name for name in shown if name in arms]
        colours = ["#0072b2" if name in ("seed", "rekd") else "#9aa5b1" for name in names]
        bars = panel.bar([shown[n] for n in names], [arms[n].linear for n in names], color=colours)
        panel.bar_label(bars, fmt="%.0f", fontsize=8)
        if teacher:
            panel.axhline(teacher.linear, color="#52606d", linestyle="--", linewidth=1)
        panel.set_title(student, fontsize=10)
        panel.tick_params(axis="x", labelsize=7.5, rotation=25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("linear top-1, %")
    figure.suptitle("Grey: no teacher. Blue: a frozen teacher (dashed line)", fontsize=9)
    return figure


def draw_relation(gains: Sequence[Gain], pyplot: Any) -> Any:
    """A point a form: the relation's purity, and what it adds in kNN."""
    figure, panel = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for place, mark in zip(dict.fromkeys(gain.place for gain in gains), "osD^vP", strict=False):
        chosen = [gain for gain in gains if gain.place == place]
        panel.scatter([g.purity for g in chosen], [g.knn for g in chosen], marker=mark, label=place)
    panel.axhline(0, color="#52606d", linewidth=1)
    panel.set_xlabel("purity: share of relatives that are of the image's class")
    panel.set_ylabel("kNN above the control, points")
    panel.legend(fontsize=8)
    panel.grid(alpha=0.3)
    return figure
