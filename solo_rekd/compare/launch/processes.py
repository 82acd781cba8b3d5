"""Runs as processes of this machine, one per GPU where it has GPUs."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solo_rekd.compare.launch import Handle
from solo_rekd.compare.launch.devices import VISIBLE, least_used, visible_gpus
from solo_rekd.compare.launch.worker_process import LOG, WORKER, end, failure, start, threads


@dataclass(frozen=True)
class Process:
    """A run in a process of its own.

    Attributes:
        popen: the process.
        folder: folder of the run.
        gpu: the GPU that it sees; None: there is none.
    """

    popen: subprocess.Popen
    folder: Path
    gpu: str | None

    def poll(self) -> int | None:
        """Returns its exit code, negative for a signal; None while it is running."""
        return self.popen.poll()

    def reason(self) -> str:
        """Returns the signal that killed it, or the last line of its log."""
        return failure(self.popen.returncode, self.folder / LOG)


class Processes:
    """Starts runs as processes of this machine.

    A run sees one GPU, the one with the fewest runs, and gets its share of the processor's cores.

    Args:
        jobs: number of runs at a time.
        command: command that runs one; its folder and this process, which it ends with, are
            appended.
        lock: descriptor of a file that the processes keep open, so that its lock outlives a
            killed parent.
    """

    def __init__(self, jobs: int, command: Sequence[str] = WORKER, lock: int | None = None) -> None:
        self.jobs, self.command = jobs, command
        self.keep_open = [] if lock is None else [lock]
        self.gpus = visible_gpus()
        self.started: list[Process] = []

    def find(self, folder: Path) -> None:
        """Finds nothing: the processes of an earlier command ended with it."""

    def launch(self, folder: Path) -> Process:
        """Starts the run of `folder`."""
        self.started = [process for process in self.started if process.poll() is None]
        gpu = least_used(self.gpus, (process.gpu for process in self.started))
        env = {"OMP_NUM_THREADS": str(threads(self.jobs)), **os.environ}
        if gpu is not None:
            env[VISIBLE] = gpu
        process = Process(start(self.command, folder, env, self.keep_open), folder, gpu)
        self.started.append(process)
        return process

    def stop(self, handles: Sequence[Handle]) -> None:
        """Ends the processes and the processes that they started."""
        end([handle.popen for handle in handles if isinstance(handle, Process)])
