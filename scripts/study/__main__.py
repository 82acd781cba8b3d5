"""Runs phases of the study, and writes the pages from the CSV files of its results."""

import argparse
import math
import sys
import time
from pathlib import Path

from solo_rekd.compare.schedule import interruptible
from solo_rekd.utils.errors import at_least
from study import rows
from study.overview import write_overview
from study.pictures import write_pictures
from study.plan import PLAN, Plan, read_plan
from study.runner import Chosen, Study, code_commit, say
from study.tables import TESTED, write_tables

WORK, DOCS = Path("runs") / "study", rows.RESULTS.parent
KINDS = ("datasets", "students", "teachers", "arms")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--plan", type=Path, default=PLAN, metavar="FILE", help="Default: %(default)s")
    add("--results", type=Path, default=rows.RESULTS, metavar="DIR", help="Default: %(default)s")
    run = jobs.add_parser("run", parents=[shared], help="run phases, in the order that is given")
    add = run.add_argument
    add("phases", nargs="+", help="of the plan: rates, tune, test")
    add("--work", type=Path, default=WORK, metavar="DIR", help="Default: %(default)s")
    add("--data", nargs="+", default=[], metavar="NAME=DIR", help="images, by the plan's `source`")
    add("--teacher_file", nargs="+", default=[], metavar="NAME=FILE", help="weights of a teacher")
    add(
        "--budget", type=float, metavar="MINUTES", help="after which no run is begun. Default: none"
    )
    add("--jobs", type=int, default=1, help="runs side by side. Default: %(default)s")
    add("--seeds", type=at_least(int, 1), help="the first so many of the plan. Default: all")
    add("--prepare", action="store_true", help="make images and teachers, and run nothing")
    for kind in KINDS:
        add(f"--{kind}", nargs="+", metavar="NAME", help="of the plan. Default: all")
    taken = jobs.add_parser("collect", parents=[shared], help="add folders of solo-rekd compare")
    taken.add_argument("into", help="NAME of the file NAME.csv")
    taken.add_argument("folders", nargs="+", type=Path)
    pages = jobs.add_parser("tables", parents=[shared], help="write tables and figures of the docs")
    pages.add_argument(
        "--docs", type=Path, default=DOCS, metavar="DIR", help="Default: %(default)s"
    )
    args = parser.parse_args()
    plan = read_plan(args.plan)
    if args.job == "run":
        run_phases(plan, args, parser)
    elif args.job == "collect":
        names = {arm.text: name for name, arm in plan.arms.items()}
        for folder in args.folders:
            found = rows.collect(folder, code_commit(), names)
            for line in rows.add_rows(args.results / f"{args.into}.csv", found):
                say(line)
    else:
        write_tables(plan, args.results, args.docs)
        write_pictures(plan, rows.read_rows(args.results / f"{TESTED}.csv"), args.docs)
        write_overview(args.results, args.docs)


def run_phases(plan: Plan, args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Runs the phases that are asked for; exits with 1 where a run failed, 130 where stopped."""
    try:
        with interruptible():
            failed = run_chosen(plan, args, parser)
    except KeyboardInterrupt:
        say("stopped: the same command resumes")
        sys.exit(130)
    if failed:
        say("\n".join(["failed:", *failed]))
        sys.exit(1)


def run_chosen(plan: Plan, args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Runs the phases that are asked for; returns what failed."""
    asked = {kind: getattr(args, kind) or plan.names(kind) for kind in KINDS}
    for kind, names in (asked | {"phases": args.phases}).items():
        if unknown := [name for name in names if name not in plan.names(kind)]:
            parser.error(f"no {' or '.join(unknown)} among the plan's {kind}: {plan.names(kind)}")
    sources, files = pairs(args.data, parser), pairs(args.teacher_file, parser)
    failed: list[str] = []
    end = math.inf if args.budget is None else time.monotonic() + 60 * args.budget
    for phase in args.phases:
        chosen = Chosen(phase, **asked, seeds=args.seeds)
        study = Study(plan, chosen, args.work, args.results, sources, files, args.jobs)
        study.prepare()
        if args.prepare:
            continue
        enough = study.run(end)
        failed += study.failed
        if not enough:
            break
    return failed


def pairs(words: list[str], parser: argparse.ArgumentParser) -> dict[str, Path]:
    """Reads NAME=PATH."""
    found = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals:
            parser.error(f"{word} is not NAME=PATH")
        found[name] = Path(path)
    return found


if __name__ == "__main__":
    main()
