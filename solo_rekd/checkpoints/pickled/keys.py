"""What a file may use as a key of a dictionary, or put into a set."""

from typing import Any

from torch import Tensor

from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign

PLAIN = (str, bytes, bool, float, type(None))
MOST_PARTS = 100  # of nested tuples, which Python hashes anew, part by part, at every use


def add(mapping: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    """Adds to `mapping`, as `dict.update`.

    Raises:
        Unreadable: a key cannot be hashed, or hashing would not end, or the numbers differ.
    """
    if len(keys) != len(values):
        raise Unreadable
    for key, value in zip(keys, values, strict=True):
        mapping[checked(key)] = value


def checked(key: Any) -> Any:
    """The key itself.

    Raises:
        Unreadable: it cannot be hashed, or hashing it would not end.
    """
    parts, seen = [key], 0
    while parts:
        part = parts.pop()
        seen += 1
        if isinstance(part, tuple) and seen + len(parts) + len(part) <= MOST_PARTS:
            parts.extend(part)
        # Python hashes an integer modulo 2**61 - 1, so long ones can be made to collide
        elif not (
            isinstance(part, (*PLAIN, Foreign, Tensor))
            or (isinstance(part, int) and abs(part) < 2**64)
        ):
            raise Unreadable
    return key
