"""A line of a CSV file for each run: what docs/results holds, and what every table is made from."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.compare.arms import LR, UNTRAINED, parse_arm
from solo_rekd.utils.files import read_json, replacing

RESULTS = Path(__file__).parents[2] / "docs" / "results"
COLUMNS = (
    *("dataset", "student", "arm", "seed", "split", "epochs"),
    *("linear_cached", "linear_host", "knn", "few_label", "minutes", "machine", "commit"),
    *("few_label_1pct", "lr", "images_seen", "teacher", "teacher_size"),
)
FIGURES = ("linear_cached", "linear_host", "knn", "few_label", "few_label_1pct")
TEACHER = "teacher"
# what a run is: of two that share all of it, the first that was noted stays
KEY = ("dataset", "student", "split", "arm", "teacher", "teacher_size", "epochs", "lr", "seed")
NUMBERS = ("epochs", "lr", "seed")

Row = dict[str, str]


def key(row: Mapping[str, str]) -> tuple[str, ...]:
    """What a run is, apart from what came of it."""
    return tuple(row[name] for name in KEY)


def read_rows(path: Path) -> list[Row]:
    """The lines of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add_rows(path: Path, found: Iterable[Row]) -> list[str]:
    """Adds the runs that a file does not have yet, and keeps it sorted.

    Returns:
        What is to be said: of each run whose figures differ from those that the file keeps.
    """
    rows = {key(row): row for row in read_rows(path)}
    said = []
    for row in found:
        kept = rows.setdefault(key(row), row)
        if any(kept[name] != row[name] for name in FIGURES):
            what = f"{row['dataset']} {row['student']} {row['arm']} seed {row['seed']}"
            said.append(
                f"{path}: {what} has other figures than the line of commit {kept['commit']}, "
                "which stays: remove that line to take the new one"
            )
    ordered = sorted(rows.values(), key=_place)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    return said


def collect(
    folder: Path, commit: str, names: Mapping[str, str], dataset: str = "", teacher: str = ""
) -> list[Row]:
    """Reads what a folder of `solo-rekd compare` has finished of the arms that it was last given.

    Args:
        folder: the comparison's.
        commit: of the code that ran.
        names: what an arm is called, by its text without `lr`; others keep that text.
        dataset: what the images are called. Default: their folder's name.
        teacher: what the teacher is called. Default: its network's name.
    """
    plan, comparison = (read_json(folder / name) for name in ("plan.json", "comparison.json"))
    if plan is None or comparison is None:
        return []
    images = int(comparison["protocol"]["training images"])
    size = plan["crop_size"] if plan["teacher_size"] == "auto" else plan["teacher_size"]
    shared = {
        "dataset": dataset or Path(plan["data"]).name,
        "student": plan["student"],
        "split": plan["val_dir"],
        "epochs": str(plan["epochs"]),
        "commit": commit,
    }
    told = {"teacher": teacher or plan["teacher"], "teacher_size": str(size)}
    untold = {"teacher": "", "teacher_size": ""}
    rows = []
    if run := comparison["teacher"]:
        rows.append(shared | told | _figures(run, images) | {"arm": TEACHER, "seed": "0", "lr": ""})
    for run in comparison["runs"]:
        text, arm = without_rate(run["arm"]), parse_arm(run["arm"])
        own = {"arm": names.get(text, text), "seed": str(run["seed"])}
        if arm.method == UNTRAINED:
            own |= {"lr": "", "images_seen": "0"}
        else:
            own["lr"] = f"{arm.lr or plan['lr']:g}"
        rows.append(shared | (told if arm.distils else untold) | _figures(run, images) | own)
    return rows


def without_rate(text: str) -> str:
    """An arm's text without its learning rate."""
    return "+".join(part for part in text.split("+") if not part.startswith(f"{LR}="))


def _figures(run: Mapping[str, Any], images: int) -> Row:
    found = {name: _number((run.get(name) or {}).get("top1")) for name in FIGURES}
    trained, machine = run["pretrain"], run["conditions"]["parts"][-1]
    threads = machine["torch threads"]
    on = machine["CPU"] if machine["GPU"] == "none" else machine["GPU"]
    return found | {
        "minutes": _number(trained["seconds"] / 60) if trained else "",
        "images_seen": str(trained["epochs"] * images) if trained else "",
        "machine": f"{on}, {threads} thread{'' if threads == '1' else 's'}",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(float(row[name] or 0) if name in NUMBERS else row[name] for name in KEY)
