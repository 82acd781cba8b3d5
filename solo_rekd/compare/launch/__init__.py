"""How the runs of a comparison are started: as processes here, or as jobs of a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Handle(Protocol):
    """A run that was started."""

    def poll(self) -> int | None:
        """Returns its exit code, negative for a signal; None while it is running."""

    def reason(self) -> str:
        """Returns why it failed, in one line, once `poll` has given an exit code."""


class Launcher(Protocol):
    """Starts the runs of a comparison, each in its own folder."""

    def find(self, folder: Path) -> Handle | None:
        """Returns the run that an earlier command started in `folder`, if it is still running."""

    def launch(self, folder: Path) -> Handle:
        """Starts the run of `folder`, which holds its `job.json`."""

    def stop(self, handles: Sequence[Handle]) -> None:
        """Ends running runs, and returns when they have ended."""
