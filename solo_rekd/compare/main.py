"""`solo-rekd compare`, from the command line to the report."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solo_rekd import hosts
from solo_rekd.compare.checks import make_plan, refuse_jobs, settle_teachers
from solo_rekd.compare.collect import collect, cpu_model, describe_machine, describe_versions
from solo_rekd.compare.conditions import differences
from solo_rekd.compare.images import Images, find_images, fingerprint
from solo_rekd.compare.jobs import judged_network, sight_of_teacher
from solo_rekd.compare.launch.choose import (
    default_jobs,
    describe_launcher,
    make_launcher,
    refuse_launcher,
)
from solo_rekd.compare.launch.worker_process import threads
from solo_rekd.compare.options import read_options
from solo_rekd.compare.plan import Plan, check_same
from solo_rekd.compare.protocol import describe_protocol
from solo_rekd.compare.report import table_lines, write_report
from solo_rekd.compare.schedule import Schedule, interruptible, print_line
from solo_rekd.compare.tasks import list_tasks, refuse_other_teacher
from solo_rekd.evaluation.cost import LATENCY_PROTOCOL, measure
from solo_rekd.hosts.jobs import Host
from solo_rekd.images.broken import skip_broken
from solo_rekd.images.decoded.chosen import prepare
from solo_rekd.utils.errors import UserError, refuse, refuse_missing
from solo_rekd.utils.files import read_json, refuse_absent, remove_unfinished, write_json
from solo_rekd.utils.locks import locked

EXTRAS = ("sklearn", "matplotlib", "jinja2")  # packages that only a comparison needs


def main(argv: Sequence[str]) -> None:
    """Compares, and prints the table and the path of the report.

    Args:
        argv: words after `solo-rekd compare`.

    Raises:
        UserError: something is wrong with the options or an image; no run is started then.
        SystemExit: with code 2 if runs failed by a user's mistakes alone, such as a full disk,
            1 if one failed by anything else, 130 if the comparison was interrupted.
    """
    try:
        with interruptible():
            comparison, out, code = run(argv)
    except KeyboardInterrupt:
        print_line("stopped: the same command resumes every run after its last complete epoch")
        sys.exit(130)
    written = [str(out / name) for name in ("report.html", "results.csv", "comparison.json")]
    lines = [*table_lines(comparison), *comparison["differences"], *written]
    print_line("\n".join(["", *lines]))
    if code:
        sys.exit(code)


def run(argv: Sequence[str]) -> tuple[dict[str, Any], Path, int]:
    """Checks everything, then compares; returns the report's data, its folder, the exit code."""
    options, extra = read_options(argv)
    out = options.out.resolve()  # results hold paths, and may be read from elsewhere
    refuse_missing(EXTRAS, "compare")
    for name in ("teacher_checkpoint", "student_checkpoint"):
        refuse_absent(name, getattr(options, name))
    if options.dali is not None:
        refuse_missing(("nvidia.dali",), "dali")
    options.data = options.data.resolve()
    if options.skip_broken:
        skip_broken()
    images = find_images(options.data, options.train_dir, options.val_dir)
    for name in (options.train_dir, options.val_dir):
        if out.is_relative_to((options.data / name).resolve()):
            raise refuse("out", str(options.out), f"a folder outside {options.data / name}")
    refuse_launcher(options.launcher, dict(options.slurm))
    host = hosts.find(options.host)
    plan = make_plan(options, extra, images, host)
    refuse_jobs(plan, host)
    plan = settle_teachers(plan)
    plan = check_same(plan, out / "plan.json")
    command = shlex.join(["solo-rekd", "compare", *argv])
    with locked(out, "comparison") as lock:
        comparison, code = compare(plan, images, host, out, options, command, lock)
        return comparison, out, code


def compare(
    plan: Plan,
    images: Images,
    host: Host,
    out: Path,
    options: Namespace,
    command: str,
    lock: int,
) -> tuple[dict[str, Any], int]:
    """Runs the unfinished runs in `out`, and writes the report after each.

    Args:
        plan: the comparison.
        images: images in `plan.data`.
        host: host that trains.
        out: folder of the comparison.
        options: options of the command line, for those that do not affect the results.
        command: command line, for the report.
        lock: descriptor of the lock of `out`.

    Returns:
        The data that the report is made from, and the exit code.
    """
    refuse_other_teacher(plan, out)
    remove_unfinished(out, below=False)  # a run's folder is its job's, which may be at work
    splits = {plan.train_dir: images.train, plan.val_dir: images.val}
    listed = {str(Path(plan.data) / name): paths for name, paths in splits.items()}
    decoded = prepare(listed, options.decoded_images, options.transforms)
    write_json(out / "plan.json", plan.to_json())  # from here on another plan is refused
    tasks = list_tasks(plan, host, out, decoded)
    jobs = options.jobs or default_jobs(options.launcher, len(tasks))
    context = {
        "command": command,
        "protocol": describe_protocol(plan, images),
        "machine": {
            "host": ", ".join(map(" ".join, host.versions().items())),
            **describe_machine(threads(jobs)),
            **describe_launcher(options.launcher, jobs),
        },
        "versions": describe_versions(host.versions()),
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
    return report(schedule), schedule.exit_code


def describe_host(host: Host) -> str:
    """Returns the host and its Lightning, each with its version or commit."""
    return ", ".join(" ".join(each) for each in host.versions().items())


def refuse_changed_images(plan: Plan, images: Images) -> None:
    """Refuses a report whose runs may have seen different images.

    Raises:
        UserError: an image has changed since the comparison began.
    """
    if fingerprint(images, Path(plan.data)) != plan.images:
        raise UserError(
            f"the images in {plan.data} changed during the runs: restore them and give another "
            "--out"
        )


def measure_networks(plan: Plan, path: Path) -> dict[str, Any]:
    """Measures student and teacher, or reads an earlier measurement of the same networks.

    Args:
        plan: the comparison.
        path: file of the measurements.
    """
    known = read_json(path) or {}
    sides = {"student": (plan.student, plan.stem, plan.crop_size)}
    if plan.distils:
        network = judged_network(plan, of_teacher=True)
        sides["teacher"] = (network.name, network.stem, sight_of_teacher(plan).size)
    networks: dict[str, Any] = {"teacher": None}
    for side, (name, stem, size) in sides.items():
        key = {"name": name, "stem": stem, "crop_size": size}
        key |= {"protocol": LATENCY_PROTOCOL, "CPU": cpu_model(), **describe_versions({})}
        earlier = known.get(side) or {}
        if earlier.get("of") != key:
            earlier = measure(name, size, stem) | {"of": key, "input_size": size}
        networks[side] = earlier
    networks |= {"latency_protocol": LATENCY_PROTOCOL, "input_size": plan.crop_size}
    write_json(path, networks)
    return networks
