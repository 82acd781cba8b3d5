"""What a cluster's job does on its machine."""

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
# on a file system without locks, as Lustre can be, only the job's number tells
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# the signal before a time limit: submitit submits the job again, and the run resumes
WARNING = signal.SIGUSR2


@dataclass(frozen=True)
class TrainOnNode:
    """Runs a run: submitit calls it on the job's machine, and again after a time limit.

    Attributes:
        command: command that runs it; its folder and this process's number are appended.
        folder: folder of the run.
    """

    command: Sequence[str]
    folder: Path

    def __call__(self) -> int:
        """Runs the run unless it is finished; returns the exit code, negative for a signal."""
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
        """Returns what submitit submits after a time limit: the same run, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@contextmanager
def held(path: Path) -> Iterator[list[int]]:
    """Waits for a lock, so that no two jobs use one folder, and yields its descriptors."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
        yield [file.fileno()]


def environment() -> dict[str, str]:
    """Returns the run's environment, without SLURM's variables for distributed training."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {"OMP_NUM_THREADS": str(threads(1)), **env}
