"""Schedules the runs: what waits for what, what is finished, and the progress of all."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solo_rekd.compare.launch import Handle, Launcher
from solo_rekd.compare.launch.job import RESULT
from solo_rekd.compare.launch.processes import Processes
from solo_rekd.compare.launch.worker_process import LOG
from solo_rekd.compare.progress import RunProgress, clock, describe, finished_cost, running_cost
from solo_rekd.utils.errors import MISTAKE
from solo_rekd.utils.files import read_json, remove_unfinished, write_json

POLL = 0.5  # seconds
TELL = 60.0  # seconds between two lines where there is no terminal
ENDING = (signal.SIGTERM, signal.SIGHUP)  # sent by kill, and by a terminal that closes
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Task:
    """A training and its evaluation, in a folder of its own.

    Attributes:
        arm: its arm, whose runs take similar times.
        seed: seed of the run.
        folder: folder of the run; it is finished when `result.json` is there.
        job: makes the content of `job.json`; called just before the run starts.
        after: folder whose result it needs.
    """

    arm: str
    seed: int
    folder: Path
    job: Callable[[], dict[str, Any]]
    after: Path | None = None

    @property
    def name(self) -> str:
        """Its name on the terminal."""
        return f"{self.arm} seed {self.seed}"


@dataclass
class Running:
    """A running run, and the fraction done when this process began, in [0, 1]."""

    handle: Handle
    start: float


class Schedule:
    """Runs tasks in order, at most `jobs` at a time; finished ones are kept.

    Args:
        tasks: tasks to run.
        jobs: number of tasks at a time.
        on_end: function called after a task has finished or failed.
        launcher: starts the tasks; None: as processes of this machine.

    Attributes:
        results: results of the finished tasks, by folder.
        failed: why tasks failed, by folder.
        blocked: folders of tasks that need a failed one.
        exit_code: 0 if no task failed, 2 if each that did was a user's mistake, else 1.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        jobs: int,
        on_end: Callable[["Schedule"], object],
        launcher: Launcher | None = None,
    ) -> None:
        self.tasks, self.jobs, self.on_end = tasks, jobs, on_end
        self.launcher = launcher or Processes(jobs)
        self.running: dict[Path, Running] = {}
        self.failed: dict[Path, str] = {}
        self.blocked: set[Path] = set()
        self.exit_code = 0
        self.results: dict[Path, dict[str, Any]] = {}
        self.told = time.monotonic()
        for task in tasks:
            if result := read_json(task.folder / RESULT):
                self.results[task.folder] = result

    def run(self) -> None:
        """Runs every unfinished task; ends the running ones if it is interrupted.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every run has ended.
        """
        bar_format = "{percentage:3.0f}%|{bar:20}| {desc}"
        with tqdm(
            total=len(self.tasks), bar_format=bar_format, disable=None, dynamic_ncols=True
        ) as bar:
            try:
                self._find()
                while self._start() or self.running:
                    self._show(bar)
                    time.sleep(POLL)
                    if self._reap():
                        self._replace()
            finally:
                self._stop()

    def _find(self) -> None:
        """Takes over tasks that an earlier command started and that are still running."""
        for task in self.tasks:
            if task.folder not in self.results and (handle := self.launcher.find(task.folder)):
                done = (read_json(task.folder / PROGRESS) or {"done": 0.0})["done"]
                self.running[task.folder] = Running(handle, done)
                print_line(f"{task.name} is still running")

    def _start(self) -> bool:
        """Starts the tasks that can start; returns whether any still waits."""
        settled = {*self.results, *self.failed, *self.blocked, *self.running}
        waiting = [task for task in self.tasks if task.folder not in settled]
        for task in waiting:
            ready = task.after is None or task.after in self.results
            if task.after in self.failed or task.after in self.blocked:
                self.blocked.add(task.folder)
                print_line(f"{task.name} is skipped: a run that it needs failed")
            elif ready and len(self.running) < self.jobs:
                self.running[task.folder] = self._launch(task)
        return bool(waiting)

    def _launch(self, task: Task) -> Running:
        task.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(task.folder)
        write_json(task.folder / "job.json", task.job())
        earlier = read_json(task.folder / PROGRESS) or {"done": 0.0}
        (task.folder / PROGRESS).unlink(missing_ok=True)
        return Running(self.launcher.launch(task.folder), earlier["done"])

    def _replace(self) -> None:
        """Starts the next tasks after a run has ended, and then reports that run."""
        try:
            self._start()
        finally:
            self.on_end(self)

    def _reap(self) -> bool:
        """Records the runs that have ended; returns whether any has."""
        ended = False
        for task in self.tasks:
            run = self.running.get(task.folder)
            if run is None or (code := run.handle.poll()) is None:
                continue
            del self.running[task.folder]
            result = read_json(task.folder / RESULT)
            if result and code == 0:
                self.results[task.folder] = result
                print_line(f"{task.name}: {figures(result)}")
            else:
                reason = run.handle.reason()
                self.failed[task.folder] = reason
                self.exit_code = MISTAKE if code == MISTAKE and self.exit_code != 1 else 1
                print_line(f"{task.name} failed: {reason} ({task.folder / LOG})")
            ended = True
        return ended

    def _show(self, bar: tqdm) -> None:
        """Moves the bar; where there is no terminal, prints a line now and then."""
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
        run = self.running.get(task.folder)
        if run is None:
            return RunProgress(task.arm, progress["done"] if progress else 0)
        if progress is None:
            return RunProgress(task.arm, run.start, None, True, "starting")
        # a run resumes after its last complete epoch, a little before where it was stopped
        run.start = min(run.start, progress["done"])
        cost = running_cost(progress, run.start)
        return RunProgress(task.arm, progress["done"], cost, True, progress["stage"])

    def _stop(self) -> None:
        """Ends every running run."""
        again = (signal.SIGINT, *ENDING)
        previous = [signal.signal(number, signal.SIG_IGN) for number in again]
        self.launcher.stop([run.handle for run in self.running.values()])
        for folder in self.running:
            remove_unfinished(folder)
        self.running.clear()
        for number, handler in zip(again, previous, strict=True):
            signal.signal(number, handler)


def figures(result: Mapping[str, Any]) -> str:
    """Writes a finished run in one line, top-1 in percent."""
    linear, cached, knn = (result[key]["top1"] for key in ("linear_host", "linear_cached", "knn"))
    return (
        f"linear {linear:.2f} (host), {cached:.2f} (cached features), kNN {knn:.2f}, "
        f"in {clock(finished_cost(result))}"
    )


def print_line(text: str) -> None:
    """Prints a line above the progress bar; the runs continue even if the output is closed."""
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # a closed pipe, a closed terminal
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def interruptible() -> Iterator[None]:
    """Handles the signals of `ENDING` like Ctrl-C; one that is ignored, as by nohup, stays so."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    previous = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
