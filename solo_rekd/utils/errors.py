"""The one error a user can cause, and how it reaches the terminal."""

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

# argparse's words for a value that is none of its choices
CHOICE = re.compile(
    r"argument (?:-\w/)?-*(?P<name>\w+): invalid choice: '(?P<value>.*)' "
    r"\(choose from (?P<choices>.*)\)",
    re.DOTALL,
)


def one_line(text: str) -> str:
    """The text in one line, with control characters, which a file may bring along, as escapes."""
    joined = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


class UserError(ValueError):
    """A mistake of the user's: shown as one line, without a traceback, with exit code 2.

    It is a ValueError, which a script of the user's catches without a name of ours. Code here that
    catches the ValueErrors of others lets a UserError pass first.

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
    """The names allowed, after the one that was probably meant by `name`, if one is near."""
    near = difflib.get_close_matches(name, names, n=1)
    return (f"{near[0]}, or another of " if near else "") + ", ".join(names)


def refuse_beyond(key: str, value: float, low: float, high: float = inf) -> None:
    """Raises a UserError for a number that is not from `low` to `high`, or not finite."""
    if not low <= value <= high or isinf(value):
        kind = "a finite number" if isinf(value) else "a number"
        limit = "on" if high == inf else f"to {high:g}"
        raise refuse(key, value, f"{kind} from {low:g} {limit}")


def refuse_missing(packages: Iterable[str], extra: str) -> None:
    """Raises a UserError that names those of `packages` that are not installed, and their extra."""
    if missing := [name for name in packages if not is_installed(name)]:
        raise UserError(f"{', '.join(missing)} missing: pip install 'solo-rekd[{extra}]'")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it lies in
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
    """A parser whose complaint is one line; argparse puts every flag there is before it."""

    def error(self, message: str) -> NoReturn:
        """Raises the mistake as a UserError."""
        raise complaint(message)


def at_least(kind: Callable[[str], Any], minimum: float) -> Callable[[str], Any]:
    """Makes a type of argument: a finite number from `minimum` on."""

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
    """Prints `error` as one line on stderr and returns the exit code, 2.

    With the environment variable `SOLO_REKD_TRACEBACK=1`, its traceback comes before that line,
    and those of its causes.
    """
    _end_progress_bars()
    if os.environ.get("SOLO_REKD_TRACEBACK") == "1":
        traceback.print_exception(error)
    # a loader's process sends its traceback along, which ends with the error's name and line
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    message = " ".join(str(error).rpartition(name)[2].split("\n")).strip()
    print(f"solo-rekd: error: {message}", file=sys.stderr)
    return 2


def _end_progress_bars() -> None:
    # a bar leaves its line open, on stdout or stderr, until it is closed
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
