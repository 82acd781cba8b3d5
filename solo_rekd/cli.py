"""The command `solo-rekd`."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from solo_rekd import __version__
from solo_rekd.commands.words import split_keys
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.errors import OneLineParser, UserError, nearest_first, refuse, report
from solo_rekd.utils.onnx_runtime import keep_silent


class Command(NamedTuple):
    """A command.

    Attributes:
        module: has `add_arguments(parser)` and `main(args)`, and imports no torch itself.
        help: what it does, in a line.
        takes_all: whether flags that it does not know are a host's; `add_given` adds them.
        takes_rest: whether words after a bare `--` mean something to it.
    """

    module: str
    help: str
    takes_all: bool = False
    takes_rest: bool = False


COMMANDS = {
    "demo": Command("demo", "compare three methods on a small embedded data set, in minutes"),
    "distil": Command(
        "distilling.options", "from a folder of photos to a deployed small network", takes_rest=True
    ),
    "compare": Command(
        "compare.options", "compare methods on your images, under one budget", takes_rest=True
    ),
    "pretrain": Command("commands.pretrain", "pretrain a network", takes_all=True),
    "linear": Command(
        "commands.linear", "evaluate by a linear classifier on augmented images", takes_all=True
    ),
    "knn": Command("commands.knn", "evaluate by nearest neighbours"),
    "inspect": Command("commands.inspect", "what is in a file of weights, and how to use it"),
    "embed": Command("commands.embed", "features of photos by a student or any checkpoint"),
    "export": Command("commands.export", "the student alone, to deploy: .safetensors or .onnx"),
    "doctor": Command("commands.doctor", "what is installed here, what is wrong, and the fix"),
    "run": Command("commands.run", "run a script of the host with the plug-in", takes_rest=True),
    "list": Command("commands.list", "methods, students, teachers and teacher checkpoints"),
}


def cut(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates the words that are not ours: a script's own, or those after the first bare `--`.

    argparse would read them, and takes `--` for different things in different versions of Python.
    """
    if argv[:1] == ["run"]:
        return [*argv[:2]], [*argv[2:]]
    end = argv.index("--") if "--" in argv else len(argv)
    return [*argv[:end]], [*argv[end + 1 :]]


def parse(argv: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Reads a command line.

    Returns:
        The command's module, and its arguments; `rest` are the words after a bare `--` or a
        script, `words` those of the command line after the command's name.

    Raises:
        UserError: there is no such command, or it does not take its arguments.
        SystemExit: with 0, after help or the version were shown.
    """
    own, rest = cut(argv or ["--help"])
    parser = OneLineParser(prog="solo-rekd", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"solo-rekd {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True
    )
    chosen = own[0] if own else ""
    if not chosen.startswith("-") and chosen not in COMMANDS:
        raise refuse("command", chosen, nearest_first(chosen, list(COMMANDS)))
    module = sys.modules[__name__]
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, allow_abbrev=False)
        if name != chosen:
            continue
        module = importlib.import_module(f"solo_rekd.{command.module}")
        module.add_arguments(subparser)
        keys: dict[str, Any] = {}
        if command.takes_all:
            own, keys = split_keys(own, rest)
            module.add_given(subparser, own[1:])
        elif rest and not command.takes_rest:
            subparser.error(f"unrecognized arguments: -- {' '.join(rest)}")
        subparser.set_defaults(keys=keys, rest=rest, words=argv[1:])
    return module, parser.parse_args(own)


def main() -> None:
    """Entry point of `solo-rekd`."""
    logging.basicConfig(format="%(message)s")
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # no ± in ASCII
    logging.getLogger("solo_rekd").setLevel(logging.INFO)
    keep_silent()  # before any library can import it
    command = "".join(sys.argv[1:2])
    try:
        module, args = parse(sys.argv[1:])
        module.main(args)
    except UserError as error:
        sys.exit(report(error))
    except OSError as error:
        error.filename = error.filename or command
        mistake = as_mistake(error)
        if command == "run" or mistake is None:  # a script's errors are its own
            raise
        sys.exit(report(mistake))
    except KeyboardInterrupt:
        sys.exit(130)
