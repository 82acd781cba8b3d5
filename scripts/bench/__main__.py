"""Measures the parts that are asked for, and writes the tables of the pages from all results.

The results are kept beside the pages, so that a part can be measured again alone.
"""

import argparse
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from bench import page, timing

ROOT = Path(__file__).parents[2]
DOCS, TRIED = ROOT / "docs", ROOT / "runs" / "bench"
PAGES, RESULTS = ("performance.md", "full-scale.md"), "performance.json"
COST = "cost"  # the place on the second page
# the part, the module and its function that measure it, and the options that it reads
PARTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "steps": ("bench.steps", "measure", ()),
    "losses": ("bench.losses", "measure", ()),
    "growth": ("bench.growth", "measure", ()),
    "loading": ("bench.loaders", "measure", ("data",)),
    "compile": ("bench.steps", "measure_compiled", ()),
    "parent": ("bench.parent", "measure", ("parent",)),
    "compare": ("bench.comparison", "measure", ("parent", "data", "teacher_file")),
}
USUAL = ("steps", "losses", "growth", "loading")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, help=f"Default: {' '.join(USUAL)}")
    add("--parent", metavar="COMMIT", help="also against the package as it was there")
    add("--data", type=Path, metavar="DIR", help="images of `compare`. Default: of noise")
    add("--teacher_file", type=Path, metavar="FILE", help="its EfficientNet-Lite0. Default: random")
    add("--quick", action="store_true", help=f"tiny sizes, to try it; written to {TRIED}")
    add("--docs", type=Path, metavar="DIR", help=f"folder of the pages. Default: {DOCS}")
    args = parser.parse_args()
    parts = args.parts or [*USUAL, *(["parent"] if args.parent else [])]
    if {"parent", "compare"} & set(parts) and not args.parent:
        parser.error("the parts parent and compare need --parent COMMIT (PARENT=COMMIT)")

    docs = args.docs or (TRIED if args.quick else DOCS)
    if not args.docs and args.quick:
        TRIED.mkdir(parents=True, exist_ok=True)
        for name in PAGES:
            shutil.copy(DOCS / name, TRIED / name)
    page.find_place(docs / PAGES[1], COST)
    for part in PARTS:  # before minutes are spent on what has no place
        page.find_place(docs / PAGES[0], part)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    results = read(docs / RESULTS)
    for part in parts:
        for device in devices:
            found = measure(part, torch.device(device), args)
            if found is not None:
                results.setdefault(part, {})[device] = found | {"machine": timing.machine(device)}
                write(docs / RESULTS, results)
    write_pages(docs, results)


def measure(part: str, device: torch.device, args: argparse.Namespace) -> dict[str, Any] | None:
    """One part on one device; None: it has nothing to measure there."""
    module, function, names = PARTS[part]
    options = {name: getattr(args, name) for name in names}
    return getattr(importlib.import_module(module), function)(device, args.quick, **options)


def read(path: Path) -> dict[str, Any]:
    """The results so far."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, results: dict[str, Any]) -> None:
    """Keeps the results, numbers in four digits."""
    path.write_text(json.dumps(rounded(results), indent=1, sort_keys=True) + "\n")


def rounded(value: Any) -> Any:
    """The same with four significant digits in every number with a fraction."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write_pages(docs: Path, results: dict[str, Any]) -> None:
    """Writes the tables of every part that has results."""
    results = rounded(results)
    for part, by_device in results.items():
        tables = importlib.import_module(PARTS[part][0]).tables
        texts = [f"{described(each['machine'])}\n\n{tables(each)}" for each in by_device.values()]
        page.write_between(docs / PAGES[0], part, "\n\n".join(texts))
    if "steps" in results:
        from bench import full_scale

        page.write_between(docs / PAGES[1], COST, full_scale.tables(results["steps"]))


def described(machine: dict[str, str]) -> str:
    """One line on the machine of a table."""
    return "; ".join(f"{name}: {value}" for name, value in machine.items()) + "."


if __name__ == "__main__":
    main()
