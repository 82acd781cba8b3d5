"""`solo-rekd compare`, from the command line to the report."""

import fcntl
import functools
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from solo_rekd.compare import pixels
from solo_rekd.compare.checks import make_plan, refuse_flags, settle_teachers
from solo_rekd.compare.collect import collect, cpu_model, describe_machine, describe_versions
from solo_rekd.compare.conditions import differences
from solo_rekd.compare.flags import (
    TEACHER_SEED,
    knn_flags,
    linear_flags,
    pretrain_flags,
    teacher_flags,
)
from solo_rekd.compare.images import Images, find_images, fingerprint
from solo_rekd.compare.launch.choose import (
    default_jobs,
    describe_launcher,
    make_launcher,
    refuse_launcher,
)
from solo_rekd.compare.launch.worker_process import threads
from solo_rekd.compare.options import read_options
from solo_rekd.compare.plan import TEACHER_FOLDER, Plan, Run, check_same
from solo_rekd.compare.protocol import describe_protocol
from solo_rekd.compare.report import table_lines, write_report
from solo_rekd.compare.schedule import RESULT, Schedule, Task, interruptible, print_line
from solo_rekd.evaluation.cost import LATENCY_PROTOCOL, measure
from solo_rekd.utils.errors import UserError, refuse, refuse_missing
from solo_rekd.utils.files import read_json, write_json

EXTRAS = ("sklearn", "matplotlib", "jinja2")  # that only a comparison needs
PIXELS_LIMIT = 8 << 30  # bytes of decoded images, at most


def main(argv: Sequence[str]) -> None:
    """Compares, and prints the table and where the report is.

    Args:
        argv: what follows `solo-rekd compare`.

    Raises:
        UserError: something is wrong with the options or an image; no run is begun then.
        SystemExit: 1 where a run failed, 130 where the comparison was interrupted.
    """
    try:
        with interruptible():
            comparison, out = run(argv)
    except KeyboardInterrupt:
        print_line("stopped: the same command goes on from the last whole epoch of every run")
        sys.exit(130)
    written = [str(out / name) for name in ("report.html", "results.csv", "comparison.json")]
    lines = [*table_lines(comparison), *comparison["differences"], *written]
    print_line("\n".join(["", *lines]))
    if comparison["failed"]:
        sys.exit(1)


def run(argv: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """Checks everything, then compares; returns what the report is made from, and its folder."""
    options, extra = read_options(argv)
    out = options.out.resolve()  # results hold paths, and may be read from elsewhere
    refuse_missing(EXTRAS, "compare")
    options.data = options.data.resolve()  # by these names the runs look decoded images up
    images = find_images(options.data, options.train_dir, options.val_dir)
    for name in (options.train_dir, options.val_dir):
        if out.is_relative_to((options.data / name).resolve()):
            raise refuse("out", str(options.out), f"a folder outside {options.data / name}")
    refuse_launcher(options.launcher, dict(options.slurm))
    plan = make_plan(options, extra, images)
    refuse_flags(plan)
    plan = settle_teachers(plan)
    plan = check_same(plan, out / "plan.json")
    command = shlex.join(["solo-rekd", "compare", *argv])
    with locked(out) as lock:
        return compare(plan, images, out, options, command, lock), out


def compare(
    plan: Plan, images: Images, out: Path, options: Namespace, command: str, lock: int
) -> dict[str, Any]:
    """Runs what is not finished in `out`, and writes the report after every run.

    Args:
        plan: the comparison.
        images: what `plan.data` holds.
        out: its folder.
        options: of the command line: `jobs`, `launcher` and `slurm` are read here.
        command: that was given, for the report.
        lock: descriptor of the lock of `out`.

    Returns:
        What the report is made from.
    """
    refuse_other_teacher(plan, out)
    decoded = out / "pixels"
    pixels_there = decode(images, decoded)
    write_json(out / "plan.json", plan.to_json())  # from here on another plan is refused
    tasks = list_tasks(plan, out, decoded if pixels_there else None)
    jobs = options.jobs or default_jobs(options.launcher, len(tasks))
    context = {
        "command": command,
        "protocol": describe_protocol(plan, images),
        "machine": describe_machine(threads(jobs)) | describe_launcher(options.launcher, jobs),
        "versions": describe_versions(),
        "classes": images.classes,
        "networks": measure_networks(plan, out / "networks.json"),
    }

    def report(schedule: Schedule) -> dict[str, Any]:
        failed = {str(path.relative_to(out)): why for path, why in schedule.failed.items()}
        comparison = collect(plan, out, failed, context)
        judged = [comparison["teacher"]] if comparison["teacher"] else []
        comparison["differences"] = differences([*judged, *comparison["runs"]])
        write_report(comparison, out)
        return comparison

    launcher = make_launcher(options.launcher, dict(options.slurm), jobs, out, lock, print_line)
    schedule = Schedule(tasks, jobs, report, launcher)
    print_line(f"{len(tasks)} runs in {out}, {len(schedule.results)} of them finished")
    schedule.run()
    refuse_changed_images(plan, images)
    return report(schedule)


def refuse_changed_images(plan: Plan, images: Images) -> None:
    """Refuses a report of runs that may have seen different images.

    Raises:
        UserError: an image is not what it was when the comparison began.
    """
    if fingerprint(images, Path(plan.data)) != plan.images:
        raise UserError(
            f"the images in {plan.data} changed while the runs were at work: put them back and "
            "give another --out"
        )


def list_tasks(plan: Plan, out: Path, decoded: Path | None) -> list[Task]:
    """Lists the runs in their order, the frozen teacher's first where an arm needs one.

    Args:
        plan: the comparison.
        out: its folder.
        decoded: folder of the decoded images.
    """
    common = {"pixels": str(decoded) if decoded else None}
    teacher = out / TEACHER_FOLDER

    def teacher_job() -> dict[str, Any]:
        return {
            "pretrain": None if plan.teacher_checkpoint else teacher_flags(plan),
            "checkpoint": plan.teacher_checkpoint,
            "linear": linear_flags(plan, TEACHER_SEED, of_teacher=True),
            "knn": knn_flags(plan, of_teacher=True),
            "teacher_sha256": plan.teacher_sha256,
            **common,
        }

    def job(run: Run) -> dict[str, Any]:
        checkpoint, digest = plan.teacher_checkpoint, plan.arm_sha256.get(run.arm.name)
        if run.arm.shares_teacher:
            digest = teacher_digest(plan, out)
            if checkpoint is None:
                checkpoint = str(teacher / (read_json(teacher / RESULT) or {})["checkpoint"])
        return {
            "pretrain": pretrain_flags(plan, run, checkpoint),
            "checkpoint": None,
            "linear": linear_flags(plan, run.seed),
            "knn": knn_flags(plan),
            "teacher_sha256": digest,
            **common,
        }

    tasks = []
    if plan.has_frozen_teacher:
        tasks.append(Task("teacher", TEACHER_SEED, teacher, teacher_job))
    for run in plan.runs:
        waits = run.arm.shares_teacher and plan.teacher_checkpoint is None
        after = teacher if waits else None
        folder = out / run.folder
        tasks.append(Task(run.arm.name, run.seed, folder, functools.partial(job, run), after))
    return tasks


def teacher_digest(plan: Plan, out: Path) -> str | None:
    """SHA-256 of the frozen teacher's file; None: it is yet to be trained."""
    if plan.teacher_checkpoint is not None:
        return plan.teacher_sha256
    return (read_json(out / TEACHER_FOLDER / RESULT) or {}).get("checkpoint_sha256")


def refuse_other_teacher(plan: Plan, out: Path) -> None:
    """Refuses finished runs that learned from another teacher than those to come.

    Raises:
        UserError: there is such a run, or its teacher is gone.
    """
    expected = teacher_digest(plan, out)
    for run in plan.runs:
        result = read_json(out / run.folder / RESULT)
        if result and run.arm.shares_teacher and result.get("teacher_sha256") != expected:
            raise UserError(
                f"{out / run.folder} learned from another teacher than "
                f"{plan.teacher_checkpoint or out / TEACHER_FOLDER}: remove that run, or give "
                "another --out"
            )


def measure_networks(plan: Plan, path: Path) -> dict[str, Any]:
    """Measures student and teacher, or reads what an earlier call measured of the same ones.

    Args:
        plan: the comparison.
        path: the file of the figures.
    """
    known = read_json(path) or {}
    sides = {"student": (plan.student, plan.stem)}
    if plan.distils:
        sides["teacher"] = (plan.teacher, plan.teacher_stem)
    networks: dict[str, Any] = {"teacher": None}
    for side, (name, stem) in sides.items():
        key = {"name": name, "stem": stem, "crop_size": plan.crop_size}
        key |= {"protocol": LATENCY_PROTOCOL, "CPU": cpu_model(), **describe_versions()}
        earlier = known.get(side) or {}
        if earlier.get("of") != key:
            earlier = measure(name, plan.crop_size, stem) | {"of": key}
        networks[side] = earlier
    networks |= {"latency_protocol": LATENCY_PROTOCOL, "input_size": plan.crop_size}
    write_json(path, networks)
    return networks


def decode(images: Images, out: Path) -> bool:
    """Decodes the images into `out`, where they take no more than a share of the disk."""
    limit = min(PIXELS_LIMIT, shutil.disk_usage(out.parent).free // 2)
    return pixels.write([*images.train, *images.val], out, limit)


@contextmanager
def locked(out: Path) -> Iterator[int]:
    """Makes the folder `out` this process's own, and gives the lock's descriptor.

    Raises:
        UserError: another comparison is at work there, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another comparison is at work in {out}") from error
        yield file.fileno()
