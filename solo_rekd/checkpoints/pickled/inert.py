"""What stands for the functions, classes and objects of others."""

from typing import Any

LONGEST_NAME = 300  # characters


class Foreign:
    """Stands for a function or class that is not on the list; it cannot be called.

    Attributes:
        name: module and name as the file has them, in printable ASCII.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = printable(name)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Inert(Foreign):
    """Stands for what a foreign function or class would have made.

    Attributes:
        state: what the file would have set on the object, unread.
    """

    __slots__ = ("state",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.state: Any = None


def printable(name: str) -> str:
    """The name in one line of ASCII, so that no message carries a file's control characters."""
    text = name[:LONGEST_NAME].encode("unicode_escape").decode("ascii")
    return text if len(name) <= LONGEST_NAME else f"{text}..."
