"""What a file may use as a key of a dictionary, or put into a set."""

from typing import Any

from torch import Tensor

from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign

PLAIN = (str, bytes, type(None))
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
    # The hashes of numbers are no secret, so that those of tuples of large ones can be made to
    # collide, as those of longer ones by themselves.
    largest = 2**31 if isinstance(key, tuple) else 2**64
    while parts:
        part = parts.pop()
        seen += 1
        if isinstance(part, tuple) and seen + len(parts) + len(part) <= MOST_PARTS:
            parts.extend(part)
        elif isinstance(part, int | float):
            if not (abs(part) < largest and (isinstance(part, int) or part is key)):
                raise Unreadable
        elif not isinstance(part, (*PLAIN, Foreign, Tensor)):
            raise Unreadable
    return key
