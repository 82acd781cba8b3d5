"""The process of one run on this machine: how it starts, how it is ended, and why it failed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from solo_rekd.utils.cores import cores

# not with -m, which looks for modules in the current folder first
START = "import sys; sys.path = [p for p in sys.path if p]; "
LEAVE = "from solo_rekd.utils.leaving import QuickExit, end_with; leave = QuickExit(); "
LEAVE += "end_with(int(sys.argv.pop())); "
WORK = "from solo_rekd.compare import worker; leave(worker.main())"
WORKER = (sys.executable, "-c", START + LEAVE + WORK)
GRACE = 5.0  # seconds between terminating a process and killing it
LOG = "log.txt"


def start(
    command: Sequence[str], folder: Path, env: Mapping[str, str], keep_open: Sequence[int] = ()
) -> subprocess.Popen:
    """Starts the process of a run, which ends with this process.

    Args:
        command: command that runs it; its folder and this process's number are appended.
        folder: folder of the run, with the log that its output goes to.
        env: its environment.
        keep_open: descriptors of files whose locks it holds.
    """
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [*command, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C reaches only this process, which ends them in order
            pass_fds=keep_open,
        )


def end(processes: Sequence[subprocess.Popen]) -> None:
    """Ends processes and the processes that they started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))


def threads(jobs: int) -> int:
    """Returns the threads per process for `jobs` processes, where OMP_NUM_THREADS is not set."""
    return max(1, cores() // jobs)


def failure(code: int, log: Path) -> str:
    """Returns why a process failed: the signal that killed it, or the last line it wrote.

    Args:
        code: exit code, as `subprocess` has it.
        log: file that it wrote to.
    """
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"killed by {names.get(-code, f'signal {-code}')}"
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-1] if lines else f"exit code {code}, without any output"
