"""Which launcher a comparison has, by its options."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.compare.launch import Launcher, cluster
from solo_rekd.compare.launch.processes import Processes
from solo_rekd.utils.errors import refuse

PROCESSES = "processes"
LAUNCHERS = (PROCESSES, cluster.SLURM, cluster.LOCAL)


def read_parameter(text: str) -> tuple[str, Any]:
    """Reads `NAME=VALUE` of a job; a value is a whole number where it can be one.

    Raises:
        ValueError: there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(text)
    return name, int(value) if value.isdecimal() else value


def refuse_launcher(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuses a launcher that is not to be had here, before anything is written.

    Args:
        name: one of `LAUNCHERS`.
        parameters: of a cluster's jobs.

    Raises:
        UserError: submitit or the cluster is missing, or a parameter is wrong.
    """
    if name != PROCESSES:
        cluster.check(name, parameters)
    elif parameters:
        given = ", ".join(f"{key}={value}" for key, value in parameters.items())
        raise refuse("slurm", given, "none of these without --launcher slurm")


def default_jobs(name: str, runs: int) -> int:
    """How many runs are at work at a time: one here, on a cluster as many as it has room for."""
    return 1 if name == PROCESSES else max(1, runs)


def describe_launcher(name: str, jobs: int) -> dict[str, str]:
    """Says what a report's machine part does not: where a cluster's runs were.

    Args:
        name: one of `LAUNCHERS`.
        jobs: how many runs are at work at a time.
    """
    if name == PROCESSES:
        return {}
    return {"runs": f"up to {jobs} jobs of {name}, each on a machine that its result.json names"}


def make_launcher(
    name: str,
    parameters: Mapping[str, Any],
    jobs: int,
    out: Path,
    lock: int,
    say: Callable[[str], None],
) -> Launcher:
    """Makes the launcher.

    Args:
        name: one of `LAUNCHERS`.
        parameters: of a cluster's jobs.
        jobs: how many runs are at work at a time.
        out: the comparison's folder.
        lock: descriptor of the lock of `out`.
        say: takes a line for the user.
    """
    if name == PROCESSES:
        return Processes(jobs, lock=lock)
    return cluster.Cluster(out, name, parameters, say)
