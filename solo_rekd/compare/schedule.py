"""Runs as processes side by side: what waits for what, what is finished, and how far all is."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solo_rekd.compare.progress import RunProgress, clock, describe, finished_cost, running_cost
from solo_rekd.utils.cores import cores
from solo_rekd.utils.files import UNFINISHED, read_json, write_json

# not by -m, which looks for modules in the current folder first
START = "import sys; sys.path = [p for p in sys.path if p]; from solo_rekd.compare import worker; "
WORKER = (sys.executable, "-c", START + "sys.exit(worker.main())")
POLL = 0.5  # seconds
TELL = 60.0  # seconds between two lines where there is no terminal
GRACE = 5.0  # seconds between asking a process to end and killing it
ENDING = (signal.SIGTERM, signal.SIGHUP)  # by kill, and by a terminal that closes
RESULT, PROGRESS, LOG = "result.json", "progress.json", "log.txt"


@dataclass(frozen=True)
class Task:
    """A training and its evaluation, in a process and a folder of its own.

    Attributes:
        arm: runs of one arm cost alike.
        seed: the run's.
        folder: where it works; it is finished when `result.json` is there.
        job: makes what it reads from `job.json`; called just before it starts.
        after: the folder whose result it needs.
    """

    arm: str
    seed: int
    folder: Path
    job: Callable[[], dict[str, Any]]
    after: Path | None = None

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return f"{self.arm} seed {self.seed}"


@dataclass
class Process:
    """A process at work, and how far its run was when it began, in [0, 1]."""

    popen: subprocess.Popen
    start: float


class Schedule:
    """Runs tasks in their order, at most `jobs` at a time; those that are finished are kept.

    Args:
        tasks: what to run.
        jobs: how many at a time.
        on_end: called after a task has finished or failed.
        command: what runs a task; its folder is added, and this process, with which it ends.
        lock: descriptor of a file that the processes keep open, so that its lock outlives a
            parent that is killed.

    Attributes:
        results: of the tasks that are finished, by folder.
        failed: the reason of those that failed, by folder.
        blocked: folders of those that need one that failed.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        jobs: int,
        on_end: Callable[["Schedule"], object],
        command: Sequence[str] = WORKER,
        lock: int | None = None,
    ) -> None:
        self.tasks, self.jobs, self.on_end = tasks, jobs, on_end
        self.command, self.lock = command, lock
        self.processes: dict[Path, Process] = {}
        self.failed: dict[Path, str] = {}
        self.blocked: set[Path] = set()
        self.results: dict[Path, dict[str, Any]] = {}
        self.told = time.monotonic()
        for task in tasks:
            if result := read_json(task.folder / RESULT):
                self.results[task.folder] = result

    def run(self) -> None:
        """Runs every task that is not finished; stops the processes if it is interrupted.

        Raises:
            KeyboardInterrupt: by Ctrl-C, when every process has ended.
        """
        bar_format = "{percentage:3.0f}%|{bar:20}| {desc}"
        with tqdm(
            total=len(self.tasks), bar_format=bar_format, disable=None, dynamic_ncols=True
        ) as bar:
            try:
                while self._start() or self.processes:
                    self._show(bar)
                    time.sleep(POLL)
                    self._reap()
            finally:
                self._stop()

    def _start(self) -> bool:
        """Starts what can start; returns whether anything still waits."""
        settled = {*self.results, *self.failed, *self.blocked, *self.processes}
        waiting = [task for task in self.tasks if task.folder not in settled]
        for task in waiting:
            ready = task.after is None or task.after in self.results
            if task.after in self.failed:
                self.blocked.add(task.folder)
                print_line(f"{task.name} is not run: what it needs failed")
            elif ready and len(self.processes) < self.jobs:
                self.processes[task.folder] = self._launch(task)
        return bool(waiting)

    def _launch(self, task: Task) -> Process:
        task.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(task.folder)
        write_json(task.folder / "job.json", task.job())
        earlier = read_json(task.folder / PROGRESS) or {"done": 0.0}
        (task.folder / PROGRESS).unlink(missing_ok=True)
        with (task.folder / LOG).open("ab") as log:
            popen = subprocess.Popen(
                [*self.command, str(task.folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": str(threads(self.jobs)), **os.environ},
                start_new_session=True,  # Ctrl-C is for this process, which ends them in order
                pass_fds=[] if self.lock is None else [self.lock],
            )
        return Process(popen, earlier["done"])

    def _reap(self) -> None:
        """Takes note of the processes that have ended."""
        for task in self.tasks:
            process = self.processes.get(task.folder)
            if process is None or process.popen.poll() is None:
                continue
            del self.processes[task.folder]
            result = read_json(task.folder / RESULT)
            if result and process.popen.returncode == 0:
                self.results[task.folder] = result
                print_line(f"{task.name}: {figures(result)}")
            else:
                log = task.folder / LOG
                reason = failure(process.popen.returncode, log.read_text(errors="replace"))
                self.failed[task.folder] = reason
                print_line(f"{task.name} failed: {reason} ({log})")
            self.on_end(self)

    def _show(self, bar: tqdm) -> None:
        """Moves the bar; where there is no terminal, says a line now and then."""
        runs = [self._progress(task) for task in self.tasks]
        text = describe(runs, self.jobs, [task.name for task in self.tasks])
        if not bar.disable:
            bar.n = sum(run.done for run in runs)
            bar.set_description_str(text)
        elif time.monotonic() - self.told > TELL:
            self.told = time.monotonic()
            print_line(text)

    def _progress(self, task: Task) -> RunProgress:
        if task.folder in self.results:
            return RunProgress(task.arm, 1, finished_cost(self.results[task.folder]))
        if task.folder in self.failed or task.folder in self.blocked:
            return RunProgress(task.arm, 1)
        progress = read_json(task.folder / PROGRESS)
        process = self.processes.get(task.folder)
        if process is None:
            return RunProgress(task.arm, progress["done"] if progress else 0)
        if progress is None:
            return RunProgress(task.arm, process.start, None, True, "starting")
        # a run goes on from its last whole epoch, so a little before where it was stopped
        process.start = min(process.start, progress["done"])
        cost = running_cost(progress, process.start)
        return RunProgress(task.arm, progress["done"], cost, True, progress["stage"])

    def _stop(self) -> None:
        """Ends every process and those that it started."""
        again = (signal.SIGINT, *ENDING)
        previous = [signal.signal(number, signal.SIG_IGN) for number in again]
        popens = [process.popen for process in self.processes.values()]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for popen in popens:
                with suppress(ProcessLookupError):
                    os.killpg(popen.pid, number)
            deadline = time.monotonic() + GRACE
            for popen in popens:
                with suppress(subprocess.TimeoutExpired):
                    popen.wait(max(0, deadline - time.monotonic()))
        for folder in self.processes:
            remove_unfinished(folder)
        self.processes.clear()
        for number, handler in zip(again, previous, strict=True):
            signal.signal(number, handler)


def remove_unfinished(folder: Path) -> None:
    """Removes what a process was writing in a run's folder when it was ended."""
    for path in folder.rglob(f"*{UNFINISHED}"):
        path.unlink()


def threads(jobs: int) -> int:
    """Threads for each of so many processes, where OMP_NUM_THREADS does not say."""
    return max(1, cores() // jobs)


def figures(result: Mapping[str, Any]) -> str:
    """A finished run in one line, top-1 in percent."""
    linear, cached, knn = (result[key]["top1"] for key in ("linear_host", "linear_cached", "knn"))
    return (
        f"linear {linear:.2f} (host), {cached:.2f} (cached features), kNN {knn:.2f}, "
        f"in {clock(finished_cost(result))}"
    )


def failure(code: int, log: str) -> str:
    """Why a process failed: the signal that killed it, or the last line that it wrote.

    Args:
        code: as `subprocess` has it.
        log: what the process wrote.
    """
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"killed by {names.get(-code, f'signal {-code}')}"
    lines = [line.strip() for line in re.split(r"[\r\n]", log) if line.strip()]
    return lines[-1] if lines else f"exit code {code}, and nothing written"


def print_line(text: str) -> None:
    """Prints a line above the progress bar; the runs go on where nobody reads it any more."""
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes the signals of `ENDING` what Ctrl-C is; one that is ignored, as by nohup, stays so."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    previous = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
