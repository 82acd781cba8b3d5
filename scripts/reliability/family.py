"""A process with all that it started: how it is begun, frozen and killed."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from reliability.process_tree import is_alive, tree

END = 30.0  # seconds that killed processes may take to be gone


class Family:
    """A command at work, in a session of its own.

    Args:
        words: the command.
        log: file to which its output is added.
        environment: of the command.
    """

    def __init__(self, words: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def freeze(self) -> list[int]:
        """Stops every process of it where it is; returns their numbers."""
        frozen: list[int] = []
        while new := [pid for pid in tree(self.process.pid) if pid not in frozen]:
            for pid in new:
                send(pid, signal.SIGSTOP)
            frozen += new
        return frozen

    def thaw(self) -> None:
        """Lets it go on."""
        for pid in tree(self.process.pid):
            send(pid, signal.SIGCONT)

    def kill(self, alone: bool = False) -> float:
        """Kills every process of it by SIGKILL, as if at once: none runs while another dies.

        Args:
            alone: kill the first process, and leave those that it started to end by themselves.

        Returns:
            Seconds until the last of them was gone.

        Raises:
            TimeoutError: one of them is still there after `END`.
        """
        pids = tree(self.process.pid) if alone else self.freeze()
        for pid in pids[:1] if alone else pids:
            send(pid, signal.SIGKILL)
        self.process.wait()
        return wait_for_end(pids, END)


def wait_for_end(pids: Sequence[int], seconds: float) -> float:
    """Waits until processes are gone; returns the seconds that it took.

    Raises:
        TimeoutError: one of them is still there after `seconds`.
    """
    began = time.monotonic()
    while left := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"the processes {left} are still there after {seconds:g} s")
        time.sleep(0.01)
    return time.monotonic() - began


def send(pid: int, number: int) -> None:
    """Sends a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
