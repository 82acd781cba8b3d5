"""`solo-rekd run`: one of the host's scripts, with the plug-in active."""

import argparse
import os
import runpy
import sys

from solo_rekd import hosts
from solo_rekd.utils.errors import refuse

DESCRIPTION = """\
Runs one of solo-learn's scripts, such as main_pretrain.py, as `python SCRIPT ...` does, with the
plug-in active. The words after SCRIPT go to it: `solo-rekd run SCRIPT --help` shows its own help.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the script; the words after it never reach the parser."""
    parser.usage = "solo-rekd run SCRIPT ..."
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "script", metavar="SCRIPT", nargs="?", default="", help="path of the script"
    )


def main(args: argparse.Namespace) -> None:
    """Runs the script in this process.

    Raises:
        UserError: the script does not exist, or solo-learn is not installed.
    """
    if not os.path.isfile(args.script):
        raise refuse("run", args.script, "the path of one of the host's scripts")
    # Lightning starts the other processes of DDP as `python SCRIPT ...`: they need the hook
    os.environ["SOLO_REKD_AUTOLOAD"] = "1"
    sys.argv = [args.script, *args.rest]
    sys.path[0] = os.path.dirname(os.path.abspath(args.script))
    hosts.activate()
    runpy.run_path(args.script, run_name="__main__")
