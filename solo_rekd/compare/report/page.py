"""Fills the template of the page."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from solo_rekd.compare.report import charts, maps, table
from solo_rekd.compare.report.policy import protect
from solo_rekd.compare.report.summary import (
    MISSING,
    Arm,
    curve,
    figure,
    list_arms,
    list_runs,
    teacher_arm,
)
from solo_rekd.compare.report.template import load_template
from solo_rekd.compare.report.verdict import SECONDS, called, judged_by, verdict

CURVES = {
    "train_acc1": "Online probe on training views: top-1, %",
    "val_acc1": "Online probe on validation images: top-1, %",
    "train_relation_purity": "Relation purity: share of mined positives of their query's class",
    "train_active_prototypes": "Active prototypes: those with an entry in the queue",
}
NETWORK_ROWS = (
    ("parameters, millions", "parameters", 1e6),
    ("multiply-adds, millions", "macs", 1e6),
    ("CPU latency, ms", "latency_ms", 1),
)


def render(comparison: dict[str, Any], out: Path) -> str:
    """Renders the page.

    Args:
        comparison: data that the report is made from.
        out: folder of the comparison, which holds the runs' embeddings.

    Returns:
        An HTML page that loads nothing and runs nothing: see `protect`.
    """
    arms, classes = list_arms(comparison), comparison["classes"]
    teacher = teacher_arm(comparison)
    sentence, notes = verdict(comparison)
    paths = judged_by(comparison)
    template = load_template(Path(__file__).parent, number=number, unbroken=unbroken)
    page = template.render(
        comparison,
        missing=MISSING,
        arms=arms,
        colours=[charts.colour(place) for place, _ in enumerate(arms)],
        verdict=sentence,
        notes=notes,
        accuracies=draw_accuracies(arms, teacher, paths),
        costs=draw_costs(arms, paths[0]),
        judge=heading(paths[0]),
        teacher_time=write_time(teacher),
        columns=table.columns(comparison),
        best=best_arms(comparison, arms),
        teacher_arm=teacher,
        protocols=table.list_protocols(comparison),
        curves=draw_curves(arms),
        maps=draw_maps(arms, out),
        legend=list(zip(classes, charts.CLASS_COLOURS, strict=False)),
        other_classes=(len(classes) - len(charts.CLASS_COLOURS), charts.OTHER_CLASSES),
        network_rows=list_networks(comparison["networks"]),
        commands_of_runs=list_commands(comparison),
    )
    return protect(page)


def number(value: object) -> str:
    """Writes whole numbers in groups of three digits, and anything else as it is."""
    return f"{value:,}" if type(value) is int else str(value)


def unbroken(sentence: str) -> str:
    """Keeps a figure, its spread and its unit on one line."""
    space = "\N{NO-BREAK SPACE}"
    return sentence.replace(" ± ", f"{space}±{space}").replace(" %", f"{space}%")


def heading(path: str) -> str:
    """Returns the name of an accuracy, capitalised."""
    told = called(path)
    return told if told.startswith("kNN") else told[0].upper() + told[1:]


def draw_accuracies(
    arms: list[Arm], teacher: Arm | None, paths: tuple[str, ...]
) -> list[tuple[str, Markup]]:
    """Draws a bar chart with a caption for each of these accuracies that any arm has."""
    found = []
    for place, path in enumerate(paths):
        caption = heading(path)
        reference = teacher.spread(path) if teacher else None
        reached = [(arm.name, arm.spread(path)) for arm in arms]
        said = "; ".join(f"{name} {score.text()}" for name, score in reached if score)
        chart = charts.bars(
            arms,
            path,
            f"bars{place}",
            f"{caption}, %: {said}",
            reference.mean if reference else None,
        )
        if chart:
            found.append((caption, Markup(chart)))
    return found


def draw_costs(arms: list[Arm], path: str) -> Markup | None:
    """Draws accuracy over time for the arms that have both; None where none has."""
    pairs = {place: (arm.spread(SECONDS), arm.spread(path)) for place, arm in enumerate(arms)}
    found = {place: (time, score) for place, (time, score) in pairs.items() if time and score}
    if not found:
        return None
    unit, scale = table.time_unit(max(time.mean for time, _ in found.values()))
    points = {
        place: (arms[place], time.over(scale), score) for place, (time, score) in found.items()
    }
    return Markup(charts.costs(points, "costs", unit, called(path)))


def write_time(teacher: Arm | None) -> str | None:
    """Writes how long the shared teacher was trained; None where it was not."""
    seconds = teacher and teacher.spread(SECONDS)
    if not seconds:
        return None
    unit, scale = table.time_unit(seconds.mean)
    return f"{seconds.over(scale).text(1)} {unit}"


def draw_curves(arms: list[Arm]) -> list[tuple[str, Markup]]:
    """Draws the curves of each metric that any arm has for two epochs, with captions."""
    drawn = []
    for metric, caption in CURVES.items():
        every = {place: (arm, curve(arm, metric)) for place, arm in enumerate(arms)}
        found = {place: (arm, values) for place, (arm, values) in every.items() if values}
        if any(len(values) > 1 for _, values in found.values()):
            said = f"{caption}, over the epochs of pretraining."
            drawn.append((caption, Markup(charts.curves(found, f"curve-{metric}", said))))
    return drawn


def draw_maps(arms: list[Arm], out: Path) -> list[tuple[maps.Plane, Markup]]:
    """Draws the map of every arm that has embeddings."""
    planes = enumerate(maps.project(arm, out) for arm in arms)
    return [
        (plane, Markup(charts.scatter(plane, f"map{place}"))) for place, plane in planes if plane
    ]


def best_arms(comparison: dict[str, Any], arms: list[Arm]) -> dict[str, float]:
    """Finds the highest mean of every highlighted column, by its path, without the bounds."""
    paths = [column.path for column in table.columns(comparison) if column.best]
    ranked = [arm for arm in arms if arm.competes]
    means = {path: [found.mean for arm in ranked if (found := arm.spread(path))] for path in paths}
    return {path: max(values) for path, values in means.items() if values}


def list_networks(networks: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lists the rows of the networks' table: heading, student, teacher, teacher over student."""
    rows = []
    for heading, key, scale in NETWORK_ROWS:
        student, teacher = (figure(networks, f"{who}.{key}") for who in ("student", "teacher"))
        shown = [f"{value / scale:,.2f}" if value else MISSING for value in (student, teacher)]
        ratio = f"{teacher / student:.1f}" if student and teacher else MISSING
        rows.append((heading, *shown, ratio))
    return rows


def list_commands(comparison: dict[str, Any]) -> list[tuple[dict[str, Any], list[str]]]:
    """Lists every run with the commands of its stages, the shared teacher's first."""
    paths = ("pretrain.command", "linear_host.command", "knn.command")
    return [
        (run, [text for path in paths if (text := figure(run, path))])
        for run in list_runs(comparison)
    ]
