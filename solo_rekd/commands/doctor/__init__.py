"""`solo-rekd doctor`: what this environment has, what is wrong with it, and how to fix it."""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from solo_rekd.commands.doctor import hosts, machine, packages, registration
from solo_rekd.commands.doctor.finding import TROUBLE, as_lines

DESCRIPTION = """\
Checks Python, torch, the installed versions of solo-learn, GPU, disk, cache, and whether the
plug-in reaches unedited scripts. It prints a line per finding: ok, note, or trouble with the
command that fixes it. The exit code is 1 if anything is in trouble, else 0. Packages are imported
in separate processes, which takes a few seconds.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = DESCRIPTION
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace) -> None:
    """Prints the findings.

    Raises:
        SystemExit: with code 1, where there is any trouble.
    """
    with ThreadPoolExecutor() as threads:  # each check waits for processes
        looking, looking_at_hosts = threads.submit(packages.look), threads.submit(hosts.look)
        rest = [*machine.look(), *registration.look()]
        facts, found = looking.result()
        found_hosts = looking_at_hosts.result()
    findings = [*found, *found_hosts, *machine.look_at_gpu(facts), *rest]
    if args.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        print("\n".join(as_lines(findings)))
    if any(finding.level == TROUBLE for finding in findings):
        sys.exit(1)
