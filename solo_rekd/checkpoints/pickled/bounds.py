"""Whether what a pickle holds can be walked through by whoever uses it."""

from argparse import Namespace
from typing import Any

from torch import Tensor

from solo_rekd.checkpoints.pickled.errors import Unreadable

DEEPEST = 100  # levels: functions that call themselves end at some 300
LARGEST = 20_000_000  # objects, one that is mentioned twice counted twice, and 64 characters as one
CHARACTERS = 64


def holds_tensor(content: Any) -> bool:
    """Whether there is a tensor in the containers of `content`, each of which is visited once.

    Raises:
        Unreadable: it is nested in itself or too deeply, or would be too large written out.
    """
    walk = _Walk()
    walk.visit(content, 1)
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = False
        self._known: dict[int, tuple[int, int] | None] = {}  # size and height; None: being visited

    def visit(self, value: Any, depth: int) -> tuple[int, int]:
        if isinstance(value, Tensor):
            self.found = True
        if isinstance(value, str | bytes | bytearray):
            return 1 + len(value) // CHARACTERS, 0
        if isinstance(value, Namespace):
            value = vars(value)
        if not isinstance(value, dict | list | tuple | set):
            return 1, 0
        known = self._known.get(id(value), (0, 0))
        if known is None or depth + known[1] > DEEPEST:
            raise Unreadable("holds objects that are nested in themselves, or too deeply")
        if known[0]:
            return known
        self._known[id(value)] = None
        size, height = 1, 0
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        for part in parts:
            more, below = self.visit(part, depth + 1)
            size, height = size + more, max(height, below)
        if size > LARGEST:
            raise Unreadable("holds too many objects for a checkpoint")
        self._known[id(value)] = size, height + 1
        return size, height + 1
