"""`solo-rekd list`: the names that the flags accept."""

import argparse

from solo_rekd import hosts
from solo_rekd.config import CONFIGS, PRESETS

DESCRIPTION = """\
Lists the names of methods, students, teachers and teacher checkpoints that the flags accept.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "--host",
        metavar="HOST",
        help="also list the methods of this solo-learn, each with its settings: classic (1.0.2), "
        "main, or the folder of a checkout of main",
    )


def main(args: argparse.Namespace) -> None:
    """Prints the names.

    Raises:
        UserError: there is no such host.
    """
    methods = {} if args.host is None else hosts.find(args.host).methods()
    from solo_rekd.backbones import HOST_NAMES, STUDENTS, TEACHERS
    from solo_rekd.checkpoints.formats import ALL_FORMATS

    print("methods:  ", ", ".join(CONFIGS), "(and every method of the host: list --host HOST)")
    print("presets:")
    for method, named in PRESETS.items():
        for name, bundle in named.items():
            said = ", ".join(f"{key}={value}" for key, value in bundle.items())
            print(f"  {f'{method}:{name}':<27}{said}")
    print("students: ", ", ".join(STUDENTS), "(and every encoder of the host, timm:NAME)")
    print("teachers: ", ", ".join([*HOST_NAMES, *TEACHERS, *STUDENTS]), "(and timm:NAME)")
    print("teacher checkpoints:")
    for entry in ALL_FORMATS:
        print(f"  {entry.name:<27}{entry.description}")
    if methods:
        print(f"methods of the host {args.host}, with their settings:")
    for name, settings in methods.items():
        print(f"  {name:<22}{', '.join(settings)}")
