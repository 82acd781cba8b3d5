"""What a job of a cluster does on the machine that it was given."""

import errno
import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo_rekd.compare.launch.worker_process import end, start, threads
from solo_rekd.utils.files import read_json

RESULT = "result.json"
LOCK = ".job.lock"
# a file system without locks, as Lustre can be: the job's number is what there is
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# what submitit is sent before a time limit: it submits the job again, and the run resumes then
WARNING = signal.SIGUSR2


@dataclass(frozen=True)
class TrainOnNode:
    """Works on a run: submitit calls it on the machine of the job, and again after a time limit.

    Attributes:
        command: what runs it; its folder and this process's number are added.
        folder: of the run.
    """

    command: Sequence[str]
    folder: Path

    def __call__(self) -> int:
        """Runs it, unless it is finished; returns the exit code, negative for a signal."""
        with held(self.folder / LOCK) as lock:
            if read_json(self.folder / RESULT):
                return 0
            before = signal.signal(WARNING, signal.SIG_IGN)  # the run's process inherits that
            process = start(self.command, self.folder, environment(), lock)
            signal.signal(WARNING, before)
            try:
                return process.wait()
            finally:
                end([process])

    def checkpoint(self) -> Any:
        """What submitit submits when the job's time is over: the same, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@contextmanager
def held(path: Path) -> Iterator[list[int]]:
    """Waits for a lock, so that no two jobs work in one folder, and gives its descriptors."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
        yield [file.fileno()]


def environment() -> dict[str, str]:
    """The run's environment: it is one process, no part of a training that SLURM laid out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {"OMP_NUM_THREADS": str(threads(1)), **env}
