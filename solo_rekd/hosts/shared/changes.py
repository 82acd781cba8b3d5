"""Replaces parts of a host, and restores them.

`ENTRIES` are the places where a host's script finds our names; activation fills them. `RUN` holds
further replacements for our runs; they are made when such a run begins, and undone when the next
run begins.
"""

from collections.abc import Callable
from typing import Any

from solo_rekd.hosts.shared import ownership

_NOTHING = object()  # a dictionary may lack the entry


class Changes:
    """Attributes of modules and classes, and entries of dictionaries, replaced together."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, str], tuple[Any, str, Any, Any]] = {}

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Replaces an attribute or entry.

        Args:
            owner: a module, a class, or a dictionary.
            name: name of the attribute, or key of the entry.
            value: its value until `undo`.
        """
        self._made[id(owner), name] = (owner, name, self.own(owner, name), value)
        _put(owner, name, value)

    def wrap(self, owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
        """Replaces an attribute or entry by `wrapper` of the host's own."""
        self.set(owner, name, wrapper(self.own(owner, name)))

    def own(self, owner: Any, name: str) -> Any:
        """Returns the value before the first `set`."""
        if made := self._made.get((id(owner), name)):
            return made[2]
        if isinstance(owner, dict):
            return dict.get(owner, name, _NOTHING)
        return vars(owner)[name]  # a static method as it is

    def undo(self) -> None:
        """Restores the host's own values."""
        for owner, name, own, _ in reversed(self._made.values()):
            _put(owner, name, own)

    def redo(self) -> None:
        """Replaces again what `undo` restored."""
        for owner, name, _, value in self._made.values():
            _put(owner, name, value)

    def clear(self) -> None:
        """Restores the host's own values for good."""
        self.undo()
        self._made.clear()


def _put(owner: Any, name: str, value: Any) -> None:
    if not isinstance(owner, dict):
        setattr(owner, name, value)
    elif value is _NOTHING:
        owner.pop(name, None)
    else:
        owner[name] = value


ENTRIES, RUN = Changes(), Changes()


def begin(ours: bool) -> None:
    """Begins a run: undoes the last run's replacements, and records whether this run is ours."""
    RUN.clear()
    ownership.note(ours)
