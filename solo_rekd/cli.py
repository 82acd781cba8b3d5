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
from solo_rekd.utils.errors import OneLineParser, nearest_first, refuse, report
from solo_rekd.utils.onnx_runtime import keep_silent


class Command(NamedTuple):
    """A command.

    Attributes:
        module: module with `add_arguments(parser)` and `main(args)`; it does not import torch.
        help: what the command does, in one line.
        takes_all: whether it passes unknown flags to a host; `add_given` adds them.
        takes_rest: whether it accepts words after a bare `--`.
    """

    module: str
    help: str
    takes_all: bool = False
    takes_rest: bool = False


COMMANDS = {
    "demo": Command("demo", "compare three methods on a small embedded data set, in minutes"),
    "distil": Command(
        "distilling.options",
        "distil a teacher into a small network on a folder of photos",
        takes_rest=True,
    ),
    "compare": Command(
        "compare.options", "compare methods on your images under the same budget", takes_rest=True
    ),
    "pretrain": Command("commands.pretrain", "pretrain a network", takes_all=True),
    "linear": Command(
        "commands.linear", "evaluate with a linear classifier on augmented images", takes_all=True
    ),
    "knn": Command("commands.knn", "evaluate with nearest neighbours"),
    "inspect": Command("commands.inspect", "show what a weights file contains and how to use it"),
    "embed": Command(
        "commands.embed", "write the features of photos, from a student or any checkpoint"
    ),
    "export": Command(
        "commands.export", "export the student for deployment: .safetensors or .onnx"
    ),
    "doctor": Command("commands.doctor", "check this installation and show how to fix problems"),
    "run": Command(
        "commands.run", "run one of solo-learn's scripts with the plug-in", takes_rest=True
    ),
    "list": Command("commands.list", "list methods, students, teachers and teacher checkpoints"),
}


def cut(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits off the words that are not ours: a script's own, or those after the first bare `--`.

    argparse would parse them, and treats `--` differently in different versions of Python.
    """
    if argv[:1] == ["run"]:
        return [*argv[:2]], [*argv[2:]]
    end = argv.index("--") if "--" in argv else len(argv)
    return [*argv[:end]], [*argv[end + 1 :]]


def parse(argv: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Reads a command line.

    Returns:
        The command's module and its arguments. Among these, `rest` holds the words after a bare
        `--` or a script, and `words` all words after the command's name.

    Raises:
        UserError: there is no such command, or its arguments are wrong.
        SystemExit: with code 0, after printing help or the version.
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
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has not
        sys.stdout.reconfigure(errors="replace")  # no ± in ASCII
    logging.getLogger("solo_rekd").setLevel(logging.INFO)
    keep_silent()  # before any library can import it
    command = "".join(sys.argv[1:2])
    try:
        module, args = parse(sys.argv[1:])
        module.main(args)
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is None or (command == "run" and mistake is not error):
            raise  # a fault, or a script's error, which is its own
        sys.exit(report(mistake))
    except KeyboardInterrupt:
        sys.exit(130)
