"""A training of several processes ends when one of them is lost, on both hosts."""

from collections.abc import Callable
from typing import Any

from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils import heartbeat


class LostProcessesHooks:
    """Hooks of a callback for both Lightnings, to be put in front of their `Callback`.

    It comes after the callbacks that clean up after an error: this process may end in it.

    Args:
        acts_on: whether a model's training is ours.
    """

    def __init__(self, acts_on: Callable[[Any], bool]) -> None:
        super().__init__()
        self.acts_on = acts_on
        self._heart: heartbeat.Heart | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begins to watch; Lightning has joined the processes by now."""
        if self.acts_on(pl_module):
            self._heart = heartbeat.begin()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leaves, together with the others."""
        heartbeat.end(self._heart)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Tells the others, or ends with the error of another one that has ended already."""
        if self._heart is None:
            return
        mistake = as_mistake(exception)
        if mistake is None:
            self._heart.end_as_told()
        heartbeat.end(self._heart, mistake or exception)
