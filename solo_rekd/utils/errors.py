"""The error for a user's mistake, and how it reaches the terminal."""

import argparse
import difflib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from math import inf, isinf, isnan
from types import TracebackType
from typing import Any, NoReturn

MISTAKE = 2  # exit code after a user's mistake
LARGEST = 2**63  # whole numbers of torch are smaller
# argparse's words for a value that is none of its choices
CHOICE = re.compile(
    r"argument (?:-\w/)?-*(?P<name>\w+): invalid choice: '(?P<value>.*)' "
    r"\(choose from (?P<choices>.*)\)",
    re.DOTALL,
)


def one_line(text: str) -> str:
    """The text in one line; control characters, which a file's name may hold, are escaped."""
    joined = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


class UserError(ValueError):
    """A user's mistake: shown as one line, without a traceback, with exit code 2.

    It is a ValueError, so that a user's script can catch it without importing this class. Code
    here that catches other libraries' ValueErrors re-raises a UserError first.

    Args:
        message: what is wrong and what to do.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


def refuse(key: str, value: object, allowed: str | Iterable[str]) -> UserError:
    """Builds the error for a setting that cannot be accepted.

    Args:
        key: name of the setting as the user wrote it.
        value: the value given.
        allowed: the values allowed, or a description of them.

    Returns:
        The error, to be raised by the caller.
    """
    allowed = allowed if isinstance(allowed, str) else ", ".join(allowed)
    return UserError(f"{key}={value!r} is not allowed: expected {allowed}")


def nearest_first(name: str, names: Sequence[str]) -> str:
    """The allowed names, the one most similar to `name` first, if any is similar."""
    near = difflib.get_close_matches(name, names, n=1)
    return (f"{near[0]}, or another of " if near else "") + ", ".join(names)


def refuse_beyond(key: str, value: float, low: float, high: float = inf) -> None:
    """Raises a UserError for a number beyond `low` to `high`, not finite, or too large."""
    too_large = isinstance(value, int) and abs(value) >= LARGEST
    infinite = not too_large and isinf(value)  # of a larger one, `isinf` raises
    if low <= value <= high and not infinite and not too_large:
        return
    kind = "a finite number" if infinite else "a number"
    limit = f"of {low:g} or more" if high == inf else f"from {low:g} to {high:g}"
    below = " and below 2**63" if too_large and high == inf else ""
    raise refuse(key, value, f"{kind} {limit}{below}")


def refuse_missing(packages: Iterable[str], extra: str) -> None:
    """Raises a UserError that names those of `packages` that are not installed, and their extra."""
    if missing := [name for name in packages if not is_installed(name)]:
        raise UserError(f"{', '.join(missing)} missing: pip install 'solo-rekd[{extra}]'")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def complaint(message: str) -> UserError:
    """Builds the error for what argparse complains of; choices come with the one that is near.

    Args:
        message: of argparse, whose form of a choice differs from one version of Python to another.
    """
    found = CHOICE.fullmatch(message)
    if found is None:
        return UserError(message)
    choices = [name.strip().strip("'") for name in found["choices"].split(",")]
    return refuse(found["name"], found["value"], nearest_first(found["value"], choices))


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse prints the whole usage before them."""

    def error(self, message: str) -> NoReturn:
        """Raises the mistake as a UserError."""
        raise complaint(message)


def at_least(kind: Callable[[str], Any], minimum: float) -> Callable[[str], Any]:
    """Makes an argument type: a finite number of `minimum` or more."""

    def read(text: str) -> Any:
        value = kind(text)
        if isnan(value):
            raise argparse.ArgumentTypeError(f"{text} is no number")
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {minimum:g}")
        if isinf(value):
            raise argparse.ArgumentTypeError(f"{text} is not finite")
        return value

    read.__name__ = "whole number" if kind is int else "number"
    return read


def report(error: UserError) -> int:
    """Prints `error` as one line on stderr and returns the exit code, `MISTAKE`.

    With the environment variable `SOLO_REKD_TRACEBACK=1`, its traceback and those of its causes
    come before that line.
    """
    _end_progress_bars()
    if os.environ.get("SOLO_REKD_TRACEBACK") == "1":
        traceback.print_exception(error)
    # an error from a loader's process contains its traceback, which ends with its name and message
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    message = " ".join(str(error).rpartition(name)[2].split("\n")).strip()
    print(f"solo-rekd: error: {message}", file=sys.stderr)
    return MISTAKE


def _end_progress_bars() -> None:
    # a progress bar does not end its line, on stdout or stderr, until it is closed
    std = sys.modules.get("tqdm.std")
    for bar in tuple(getattr(std.tqdm, "_instances", ())) if std is not None else ():
        bar.close()


def install_excepthook() -> None:
    """Makes an uncaught `UserError` one line and exit code 2, in the host's own scripts too."""
    previous = sys.excepthook
    if getattr(previous, "handles_user_error", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, UserError):
            sys.exit(report(error))
        previous(kind, error, trace)

    hook.handles_user_error = True  # type: ignore[attr-defined]
    sys.excepthook = hook
