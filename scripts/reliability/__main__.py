"""Runs a part, or writes the tables of docs/reliability.md from the results of all parts.

Every part is a module of this package with `main(argv)`; one that has a table has `write(docs)`.
"""

import argparse
import importlib
import sys

from study.rows import RESULTS

DOCS = RESULTS.parent
PARTS = {"soak": "train for an hour with comparisons beside it, and look for what leaks"}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reliability",
        description=__doc__,
        epilog="; ".join(f"{name}: {what}" for name, what in PARTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=(*PARTS, "tables"))
    part = parser.parse_args(sys.argv[1:2]).part
    if part != "tables":
        sys.exit(importlib.import_module(f"reliability.{part}").main(sys.argv[2:]))
    for name in PARTS:
        module = importlib.import_module(f"reliability.{name}")
        if hasattr(module, "write"):
            module.write(DOCS)


if __name__ == "__main__":
    main()
