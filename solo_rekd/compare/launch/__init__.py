"""How the runs of a comparison are started: as processes here, or as jobs of a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Handle(Protocol):
    """A run at work."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it is at work."""

    def reason(self) -> str:
        """Why it failed, in one line, once `poll` gave an exit code."""


class Launcher(Protocol):
    """Starts the runs of a comparison, each of which works in a folder of its own."""

    def find(self, folder: Path) -> Handle | None:
        """The run that an earlier comparison started in `folder`, if it is still at work."""

    def launch(self, folder: Path) -> Handle:
        """Starts the run of `folder`, which holds its `job.json`."""

    def stop(self, handles: Sequence[Handle]) -> None:
        """Ends runs at work, and returns when they have ended."""
