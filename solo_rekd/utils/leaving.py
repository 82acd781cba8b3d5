"""The end of a process: one that has done its work, and one whose parent is gone."""

import atexit
import os
import signal
import sys
import time
from threading import Thread

POLL = 0.5  # seconds


class QuickExit:
    """Ends a process without unloading its modules, which takes 2 seconds with torch.

    Create it before anything else is imported: exit handlers run in reverse order, so that all
    later ones have run by then. Non-daemon threads have ended by then, too.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        atexit.register(self._leave)

    def __call__(self, status: int) -> None:
        """Ends the process.

        Args:
            status: exit code.
        """
        self._status = status
        sys.exit(status)

    def _leave(self) -> None:
        if self._status is None:  # it ends for another reason, which Python reports
            return
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self._status)


def end_with(parent: int) -> None:
    """Ends this process and those that it started once its parent is gone, killed without a word.

    Call it before anything else is imported: that takes seconds, in which the parent may go.

    Args:
        parent: number of the process that started this one, as the first of its group.
    """
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os.killpg(os.getpgrp(), signal.SIGKILL)
