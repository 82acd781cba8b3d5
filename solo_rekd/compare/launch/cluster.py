"""Runs as jobs of a cluster, by submitit; all machines share the comparison's folder."""

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from solo_rekd.compare.launch import Handle
from solo_rekd.compare.launch.job import RESULT, TrainOnNode
from solo_rekd.compare.launch.worker_process import LOG, WORKER, failure
from solo_rekd.utils.errors import refuse, refuse_missing
from solo_rekd.utils.files import read_json, write_json

SLURM, LOCAL = "slurm", "local"
JOB = "cluster_job.json"  # in a run's folder: the number of its job
FOLDER = "cluster"  # in the comparison's folder: scripts, logs and outcomes of the jobs
RESUBMISSIONS = 3  # of a job that is lost or reaches its time limit, at most
SETTLE = 15.0  # seconds until a shared folder shows what another machine wrote
PATIENCE = 60.0  # seconds to wait until cancelled jobs have ended
POLL = 0.5  # seconds
DEFAULTS = {"timeout_min": 24 * 60, "gpus_per_node": 0}
# submitit's own parameters, for every kind of cluster; all others are sbatch's
SHARED = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")
# set by the comparison: a run is one process on one machine, and the name is the comparison's
OURS = ("name", "job_name", "nodes", "tasks_per_node", "ntasks_per_node", "stderr_to_stdout")
FINAL = ("CANCELLED", "OUT_OF_MEMORY", "DEADLINE")  # states in which another try does not help


def make_executor(folder: Path, cluster: str, parameters: Mapping[str, Any], tries: int) -> Any:
    """Makes the object that submits jobs.

    Args:
        folder: folder of its files.
        cluster: `slurm`, or `local` for processes of this machine instead.
        parameters: parameters of every job, by submitit's and sbatch's names.
        tries: how often a job that reached its time limit is started again.

    Raises:
        UserError: submitit or SLURM is missing, or a parameter is wrong.
    """
    refuse_missing(["submitit"], "slurm")
    from submitit import AutoExecutor

    if cluster == SLURM and shutil.which("sbatch") is None:
        raise refuse("launcher", SLURM, "a machine with SLURM: sbatch is not found here")
    for name in parameters:
        if name in OURS:
            raise refuse("slurm", name, "another name: a run is one task on one machine")
    given = {
        name if name in SHARED else f"{SLURM}_{name}": value
        for name, value in (DEFAULTS | dict(parameters)).items()
    }
    try:
        executor = AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=tries)
        executor.update_parameters(**given)
    except (AssertionError, NameError, TypeError, ValueError) as error:
        words = " ".join(str(error).split())
        text = ", ".join(f"{name}={value}" for name, value in parameters.items())
        raise refuse("slurm", text, f"parameters that submitit takes ({words})") from error
    return executor


def check(cluster: str, parameters: Mapping[str, Any]) -> None:
    """Refuses a cluster or parameters that no job could be submitted with.

    Raises:
        UserError: see `make_executor`.
    """
    with TemporaryDirectory() as folder:
        make_executor(Path(folder), cluster, parameters, RESUBMISSIONS)


@dataclass
class Job:
    """A run as a job of the cluster.

    Attributes:
        job: submitit's job.
        folder: folder of the run.
        resubmit: function that submits the run again.
        say: function that prints a line.
        tries: how often it may be submitted again.
        ended: when it was first seen to have ended, by `time.monotonic`.
        why: the cluster's reason why the job failed.
        code: the run's exit code, once known.
    """

    job: Any
    folder: Path
    resubmit: Callable[[], Any]
    say: Callable[[str], None]
    tries: int
    ended: float | None = None
    why: str = ""
    code: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code, negative for a signal; None while it waits or runs.

        A job that ended without an outcome was lost with its machine: it is submitted again, and
        its run resumes from its newest checkpoint.
        """
        if self.code is not None or not self.job.done():
            return self.code
        self.ended = self.ended or time.monotonic()
        settled = time.monotonic() - self.ended >= SETTLE
        if self.job.paths.result_pickle.exists():
            code = self._outcome()
            if code or settled or (self.folder / RESULT).exists():
                self.code = code
        elif settled:
            self._lost()
        return self.code

    def reason(self) -> str:
        """Returns the cluster's reason, or the last line of the run's log."""
        return self.why or failure(self.code or 0, self.folder / LOG)

    def _outcome(self) -> int:
        if error := self.job.exception():
            # the last line of a traceback among other text
            lines = re.findall(r"^[\w.]*(?:Error|Interrupt|Exit)\b.*", str(error), re.MULTILINE)
            self.why = f"{lines[-1] if lines else 'no outcome'} ({self.job.paths.stderr})"
            return 1
        return self.job.results()[0]

    def _lost(self) -> None:
        state = str(self.job.state)
        what = f"its job {self.job.job_id} ended without an outcome ({state})"
        if state.upper().startswith(FINAL) or not self.tries:
            self.why, self.code = f"{what}; {self.job.paths.stderr}", 1
            return
        self.say(f"{self.folder.parent.name} {self.folder.name}: {what}; submitting it again")
        self.job, self.ended, self.tries = self.resubmit(), None, self.tries - 1


class Cluster:
    """Starts runs as jobs of a cluster, which may outlive this process.

    Args:
        out: the comparison's folder, which every machine of the cluster sees under this path.
        cluster: `slurm` or `local`.
        parameters: see `make_executor`.
        say: function that prints a line.
        command: command that runs a job; its folder and a process that it ends with are appended.
        tries: how often a lost job is submitted again.
    """

    def __init__(
        self,
        out: Path,
        cluster: str,
        parameters: Mapping[str, Any],
        say: Callable[[str], None],
        command: Sequence[str] = WORKER,
        tries: int = RESUBMISSIONS,
    ) -> None:
        self.cluster, self.say, self.command, self.tries = cluster, say, command, tries
        self.executor = make_executor(out / FOLDER, cluster, parameters, tries)

    def find(self, folder: Path) -> Job | None:
        """Returns the job that an earlier command submitted for `folder`, if it waits or runs."""
        known = read_json(folder / JOB) or {}
        if known.get("cluster") != self.cluster:
            return None
        import submitit

        kind = submitit.SlurmJob if self.cluster == SLURM else submitit.LocalJob
        job: Any = kind(self.executor.folder, known["job"])
        # the end of an unknown job would not be noticed; if it runs, a new job waits for it
        gone = job.done(force_check=True) or job.state == "UNKNOWN"
        return None if gone else self._handle(folder, job)

    def launch(self, folder: Path) -> Job:
        """Submits the run of `folder`."""
        return self._handle(folder, self._submit(folder))

    def stop(self, handles: Sequence[Handle]) -> None:
        """Cancels the jobs, and waits for them to end, up to `PATIENCE`."""
        jobs = [handle.job for handle in handles if isinstance(handle, Job)]
        for job in jobs:
            job.cancel(check=False)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(job.done(force_check=True) for job in jobs):
            time.sleep(POLL)

    def _handle(self, folder: Path, job: Any) -> Job:
        return Job(job, folder, lambda: self._submit(folder), self.say, self.tries)

    def _submit(self, folder: Path) -> Any:
        name = f"{folder.parent.name}-{folder.name}"
        self.executor.update_parameters(name=name)
        job = self.executor.submit(TrainOnNode(tuple(self.command), folder))
        write_json(folder / JOB, {"cluster": self.cluster, "job": job.job_id})
        return job
