"""Searches for the form of a relation that pays, on views that are drawn once.

    export PYTHONPATH=scripts
    python -m search draw DATA views.safetensors --teacher_checkpoint lite0.pth
    python -m search run views.safetensors --data_name cifar10 --forms own=1 relation=soft

Rows go to docs/results/search.csv as they come; what is there already is not run again.
"""

import argparse
import csv
from pathlib import Path

import torch
from study.rows import read_rows

from search import views
from search.forms import read_form
from search.train import timed
from solo_rekd.utils.memory import keep_freed_memory

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "search.csv"
KEY = ["dataset", "student", "form", "seed", "epochs"]
COLUMNS = [*KEY, "linear_cached", "knn", "purity", "minutes"]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("draw", help="draws views and embeds them")
    draw.add_argument("data", type=Path, help="folder of train/ and tune/")
    draw.add_argument("views", type=Path, help="file to write")
    draw.add_argument("--teacher", default="timm:tf_efficientnet_lite0")
    draw.add_argument("--teacher_checkpoint", type=Path, required=True)
    draw.add_argument("--teacher_size", type=int, default=128, help="[px]")
    draw.add_argument("--crop_size", type=int, default=64, help="[px]")
    draw.add_argument("--number", type=int, default=16, help="views of an image")
    run = commands.add_parser("run", help="trains")
    run.add_argument("views", type=Path)
    run.add_argument("--data_name", required=True)
    run.add_argument("--student", default="alexnet")
    run.add_argument("--forms", nargs="+", required=True, metavar="SETTING=VALUE+...")
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    run.add_argument("--epochs", type=int, default=8)
    run.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if args.command == "draw":
        teacher = views.Teacher(args.teacher, args.teacher_checkpoint, args.teacher_size)
        views.draw(args.data, teacher, args.crop_size, args.number, args.views)
        return
    drawn = views.read(args.views)
    for seed in args.seeds:
        for form in args.forms:
            key = dict(
                zip(KEY, (args.data_name, args.student, form, seed, args.epochs), strict=True)
            )
            if key_of(key) in {key_of(row) for row in read_rows(args.results)}:
                continue
            score, minutes = timed(read_form(form), drawn, args.student, seed, args.epochs)
            row = key | {
                "linear_cached": f"{score.linear:.2f}",
                "knn": f"{score.knn:.2f}",
                "purity": f"{score.purity:.3f}",
                "minutes": f"{minutes:.1f}",
            }
            add(args.results, row)
            print(row, flush=True)


def key_of(row: dict) -> tuple[str, ...]:
    """What tells a run from others."""
    return tuple(str(row[name]) for name in KEY)


def add(path: Path, row: dict) -> None:
    """Appends one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
