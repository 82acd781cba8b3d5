"""Runs one part of the trials, or writes the tables of docs/reliability.md from their results."""

import argparse
import importlib
import sys

# each is a module with `add_arguments(parser)` and `run(args)`, which returns the exit status
PARTS = ("kill", "agreement", "hosts", "numerics", "soak", "tables")


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    jobs = parser.add_subparsers(dest="part", required=True)
    modules = {name: importlib.import_module(f"reliability.{name}") for name in PARTS}
    for name, module in modules.items():
        about = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(jobs.add_parser(name, help=about, description=module.__doc__))
    args = parser.parse_args()
    return modules[args.part].run(args)


if __name__ == "__main__":
    sys.exit(main())
