"""What the plug-in replaces in a host, and how the host gets its own back.

`ENTRIES` are the places by which a host's script can name something of ours; activation fills them.
`RUN` is what a run of ours needs besides; it is replaced when such a run begins, and put back when
the next run begins.
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
        """Replaces one.

        Args:
            owner: a module, a class, or a dictionary.
            name: of the attribute, or the key of the entry.
            value: what stands there until `undo`.
        """
        self._made[id(owner), name] = (owner, name, self.own(owner, name), value)
        _put(owner, name, value)

    def wrap(self, owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
        """Replaces one by what `wrapper` makes of the host's own."""
        self.set(owner, name, wrapper(self.own(owner, name)))

    def own(self, owner: Any, name: str) -> Any:
        """What stood there before the first `set`."""
        if made := self._made.get((id(owner), name)):
            return made[2]
        if isinstance(owner, dict):
            return dict.get(owner, name, _NOTHING)
        return vars(owner)[name]  # a static method as it is

    def undo(self) -> None:
        """Puts back the host's own."""
        for owner, name, own, _ in reversed(self._made.values()):
            _put(owner, name, own)

    def redo(self) -> None:
        """Replaces again what `undo` put back."""
        for owner, name, _, value in self._made.values():
            _put(owner, name, value)

    def clear(self) -> None:
        """Puts back the host's own for good."""
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
    """Begins a run: forgets what the last one needed, and notes whether this one is ours."""
    RUN.clear()
    ownership.note(ours)
