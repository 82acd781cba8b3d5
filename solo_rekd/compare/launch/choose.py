"""Chooses the launcher of a comparison by its options."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from solo_rekd.compare.launch import Launcher, cluster
from solo_rekd.compare.launch.processes import Processes
from solo_rekd.utils.errors import refuse

PROCESSES = "processes"
LAUNCHERS = (PROCESSES, cluster.SLURM, cluster.LOCAL)


def read_parameter(text: str) -> tuple[str, Any]:
    """Reads a job's `NAME=VALUE`; the value becomes a whole number if it can.

    Raises:
        ValueError: the name or the value is missing.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(text)
    return name, int(value) if value.isdecimal() else value


def refuse_launcher(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuses a launcher that is not available here, before anything is written.

    Args:
        name: one of `LAUNCHERS`.
        parameters: parameters of a cluster's jobs.

    Raises:
        UserError: submitit or the cluster is missing, or a parameter is wrong.
    """
    if name != PROCESSES:
        cluster.check(name, parameters)
    elif parameters:
        given = ", ".join(f"{key}={value}" for key, value in parameters.items())
        raise refuse("slurm", given, "none of these without --launcher slurm")


def default_jobs(name: str, runs: int) -> int:
    """Returns how many runs run at a time: one here, on a cluster as many as it has room for."""
    return 1 if name == PROCESSES else max(1, runs)


def describe_launcher(name: str, jobs: int) -> dict[str, str]:
    """Describes where a cluster's runs ran, for the machine section of a report.

    Args:
        name: one of `LAUNCHERS`.
        jobs: number of runs at a time.
    """
    if name == PROCESSES:
        return {}
    return {"runs": f"up to {jobs} jobs of {name}, each on the machine named in its result.json"}


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
        parameters: parameters of a cluster's jobs.
        jobs: number of runs at a time.
        out: the comparison's folder.
        lock: descriptor of the lock of `out`.
        say: function that prints a line.
    """
    if name == PROCESSES:
        return Processes(jobs, lock=lock)
    return cluster.Cluster(out, name, parameters, say)
