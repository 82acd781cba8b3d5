"""Words of a command line that our parsers do not know: a method's or a host's."""

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from solo_rekd.hosts.words import value_of, values_of
from solo_rekd.utils.errors import UserError

DOTTED_KEY = re.compile(
    r"[+~]{0,2}\w+(\.\w+)+="
)  # the beginning of a word that is a key of the main branch


def split_keys(words: Sequence[str], rest: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Takes the keys of solo-learn's main branch, KEY=VALUE, out of a command line.

    Args:
        words: words of the command line; dotted keys are taken out.
        rest: words after a bare `--`, which have to be keys.

    Returns:
        The other words, and the value of each key.

    Raises:
        UserError: a word after `--` is not a key.
    """
    for word in rest:
        if not re.match(r"[+~]{0,2}[\w.@/]+=", word):
            raise UserError(f"{word} after --: expected KEY=VALUE of solo-learn's main branch")
    keys = [word for word in words if DOTTED_KEY.match(word)]
    plain = [word for word in words if not DOTTED_KEY.match(word)]
    pairs = (word.lstrip("+").partition("=") for word in (*keys, *rest))
    return plain, {key: value_of(text) for key, _, text in pairs}


def declare_others(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Adds every flag among `words` that `parser` lacks, with any number of values.

    Their names become the parser's default for `others`.
    """
    others = []
    for word in words:
        name = word.partition("=")[0]
        if not name.startswith("--") or name == "--":
            continue
        with suppress(argparse.ArgumentError):  # the parser has it, or it is a second mention
            parser.add_argument(name, dest=name, nargs="*", help=argparse.SUPPRESS)
            others.append(name)
    parser.set_defaults(others=tuple(others))


def values_of_others(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of the flags that `declare_others` added, by name without dashes.

    A flag without a value is True; several values are a tuple.
    """
    found: dict[str, Any] = {}
    for flag in args.others:
        name = flag.removeprefix("--")
        found[name] = values_of(name, getattr(args, flag))
    return found


def given(args: argparse.Namespace, table: Mapping[str, str]) -> dict[str, Any]:
    """Returns the arguments that are set, renamed.

    Args:
        args: the arguments.
        table: names of the arguments, by their new names.
    """
    found = {name: getattr(args, flag, None) for name, flag in table.items()}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if value is not None
    }
