"""The command line of `solo-rekd distil`; it does not import torch."""

import argparse
import sys
from pathlib import Path
from typing import Any

from solo_rekd.config import CONFIGS, MEMORY_FORMATS
from solo_rekd.distilling.request import DEVICES, PRECISIONS, STUDENT, TEACHER, make_request
from solo_rekd.hosts import HOST_HELP
from solo_rekd.hosts.jobs import DEFAULT_SEED
from solo_rekd.hosts.words import value_of
from solo_rekd.utils.errors import UserError, at_least

DESCRIPTION = """\
Distils a teacher into a small network on photos without labels, and exports it for deployment.

Settings that are not given are chosen automatically and shown with the reason. The same command
resumes an interrupted run, and writes any missing files of a finished one. DIR then holds
student.safetensors, student.onnx, a model card and a report.
"""
CHOSEN = "Default: chosen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; a default of None is chosen by `choices.choose`."""
    parser.usage = (
        "solo-rekd distil PHOTOS... --teacher_checkpoint FILE --out DIR [options] [-- host's flags]"
    )
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    whole: dict[str, Any] = {"type": at_least(int, 1), "metavar": "N"}
    natural: dict[str, Any] = {"type": at_least(int, 0), "metavar": "N"}
    real: dict[str, Any] = {"type": at_least(float, 0), "metavar": "X"}
    parser.add_argument(
        "photos", nargs="+", help="folders with photos at any depth, or .txt files of paths"
    )
    add = parser.add_argument_group("what to do").add_argument
    add("--student", default=STUDENT, metavar="NAME", help="network to train. Default: %(default)s")
    add(
        "--student_checkpoint",
        metavar="FILE",
        help="weights the student starts from, in any format of solo-rekd list. Default: random",
    )
    add("--teacher", default=TEACHER, metavar="NAME", help="teacher network. Default: %(default)s")
    add(
        "--teacher_checkpoint",
        required=True,
        metavar="FILE",
        help="weights of the teacher, in any format of solo-rekd list",
    )
    add("--out", required=True, metavar="DIR", help="folder of the run")
    add("--epochs", **whole, help=f"passes over the photos. {CHOSEN}")
    add("--hours", **real, help="time limit of the training, instead of --epochs")
    add("--int8", action="store_true", help="also write an 8-bit network, and report what it loses")
    add(
        "--against",
        metavar="FILE",
        help="weights of a network to compare the student with. Default: the untrained student",
    )
    add = parser.add_argument_group(
        f"what is chosen automatically unless given ({CHOSEN})"
    ).add_argument
    add("--method", metavar="NAME", help=", ".join(CONFIGS))
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of the method (solo-rekd pretrain --method NAME --help); may be repeated",
    )
    add("--crop_size", **whole, help="side of the student's views [px]")
    add("--teacher_size", **whole, help="side of the teacher's views [px]")
    add("--batch_size", **whole, help="photos per step")
    add("--lr", **real, help="learning rate for a batch of 256")
    add("--queue_size", **whole, help="length of the queue [keys]")
    add("--device", choices=DEVICES, help="device to train on")
    add("--precision", choices=PRECISIONS, help="training precision, in bits")
    add("--memory_format", choices=MEMORY_FORMATS, help="memory format of images and weights")
    add("--workers", **natural, help="processes that load photos")
    add("--drawn_views", **natural, help="views per photo that are drawn once and reused; 0: none")
    add = parser.add_argument_group("run").add_argument
    add(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help="seed of everything random. Default: %(default)s",
    )
    add("--host", metavar="HOST", help=HOST_HELP)


def read_settings(words: list[str]) -> dict[str, Any]:
    """Reads the values of `--set`.

    Raises:
        UserError: a word is not NAME=VALUE.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UserError(f"--set {word} is not allowed: expected NAME=VALUE")
        found[name] = value_of(value)
    return found


def main(args: argparse.Namespace) -> None:
    """Distils, and prints where the files are.

    Raises:
        UserError: see `run.distil`.
        SystemExit: with code 130, if it was interrupted.
    """
    own = ("command", "keys", "rest", "words", "settings")
    given = {name: value for name, value in vars(args).items() if name not in own}
    given["photos"] = tuple(args.photos)
    request = make_request(
        **given,
        settings=read_settings(args.settings),
        host_words=tuple(word for word in args.rest if word != "--"),
    )
    from solo_rekd.compare.schedule import interruptible, print_line
    from solo_rekd.distilling.run import run

    try:
        with interruptible():
            run(request)
    except KeyboardInterrupt:
        again = "the same command resumes after the last complete epoch"
        print_line(f"stopped: {again}" if Path(args.out, "plan.json").exists() else "stopped")
        sys.exit(130)
