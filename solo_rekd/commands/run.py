"""`solo-rekd run`: a script of the host, with the plug-in active."""

import argparse
import os
import runpy
import sys

from solo_rekd import hosts
from solo_rekd.utils.errors import refuse

DESCRIPTION = """\
Runs a script of solo-learn, such as main_pretrain.py, as `python SCRIPT ...` does, with the plug-in
active. What follows the script is its own: `solo-rekd run SCRIPT --help` shows the script's help.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the script; what follows it never reaches the parser."""
    parser.usage = "solo-rekd run SCRIPT ..."
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("script", metavar="SCRIPT", nargs="?", default="", help="its path")


def main(args: argparse.Namespace) -> None:
    """Runs the script in this process.

    Raises:
        UserError: there is no such script, or no solo-learn.
    """
    if not os.path.isfile(args.script):
        raise refuse("run", args.script, "the path of a script of the host")
    # Lightning starts the other processes of DDP as `python SCRIPT ...`: they need the hook
    os.environ["SOLO_REKD_AUTOLOAD"] = "1"
    sys.argv = [args.script, *args.rest]
    sys.path[0] = os.path.dirname(os.path.abspath(args.script))
    hosts.activate()
    runpy.run_path(args.script, run_name="__main__")
