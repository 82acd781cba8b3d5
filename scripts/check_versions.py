"""Runs the fast tests at the ends of the versions that setup.py admits, and prints a table.

    lowest   every lower bound of setup.py exactly, on the oldest Python
    host     solo-learn's main branch as it pins its Lightning, the newest of all else, there too
    newest   the newest of all, on every Python

Each end has an environment of its own in the folder (7 GB), beside its log and its result. An end
whose result is stored is not run again. With SOLO_LEARN_HOME, a checkout of solo-learn's main
branch, the tests on that host are run too.

Usage, for all ends, and for two of them:
    python scripts/check_versions.py > table.md
    python scripts/check_versions.py lowest-3.10 newest-3.13
Exit code: 0, or 1 where a test failed or an environment could not be made.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import setuptools  # noqa: F401 - brings distutils, which Python has no longer from 3.12 on

from distutils.core import run_setup  # isort: skip
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHONS = [f"python3.{minor}" for minor in range(10, 15)]
HOST = ["lightning==2.1.2", "torchmetrics<0.12"]
# goes in last and without its dependencies, as in the Makefile
CLASSIC = ["--no-deps", "solo-learn==1.0.2"]
PACKAGE = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
COLUMNS = [
    *("torch", "torchvision", "lightning", "pytorch-lightning", "timm", "torchmetrics"),
    *("hydra-core", "numpy"),
]
LIST_VERSIONS = (
    "import json, sys; from importlib.metadata import version; "
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


@dataclass
class Result:
    """What came of the tests at one end.

    Attributes:
        end: its name, such as `lowest`.
        python: the version of Python, such as `3.10`.
        day: the date, as in ISO 8601.
        versions: those installed of the packages in `COLUMNS`.
        passed: number of tests that passed; `skipped` likewise.
        faults: the tests that failed, or what else went wrong.
    """

    end: str
    python: str
    day: str = field(default_factory=lambda: date.today().isoformat())
    versions: dict[str, str] = field(default_factory=dict)
    passed: int = 0
    skipped: int = 0
    faults: list[str] = field(default_factory=list)


def read_requirements() -> list[Requirement]:
    """Returns what setup.py asks for, with every extra."""
    setup = run_setup(str(ROOT / "setup.py"), stop_after="init")
    extras = [line for extra in setup.extras_require.values() for line in extra]
    return [Requirement(line) for line in [*setup.install_requires, *extras]]


def lower(requirements: Iterable[Requirement]) -> list[str]:
    """Returns the requirements with their lower bounds as the only versions.

    A package's first bound counts: an extra that asks for more leaves the package's own as it is.

    >>> lower(map(Requirement, ["torch>=2.6", "setuptools<82", "torch>=2.7.1"]))
    ['torch==2.6', 'setuptools<82']
    """
    lowest: dict[str, str] = {}
    for requirement in requirements:
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        exact = f"{requirement.name}=={bounds[0]}" if bounds else str(requirement)
        lowest.setdefault(requirement.name, exact)
    return list(lowest.values())


def choose(end: str, requirements: Iterable[Requirement]) -> list[str]:
    """Returns what pip is to install at an end."""
    if end == "lowest":
        return lower(requirements)
    return [*map(str, requirements), *(HOST if end == "host" else [])]


def plan(pythons: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Returns the ends by name, each with its Python.

    Args:
        pythons: the interpreters by their version, the oldest first.

    >>> list(plan({"3.10": "/usr/bin/python3.10", "3.11": "/usr/bin/python3.11"}))
    ['lowest-3.10', 'host-3.10', 'newest-3.10', 'newest-3.11']
    """
    oldest = next(iter(pythons))
    chosen = [("lowest", oldest), ("host", oldest), *(("newest", python) for python in pythons)]
    return {f"{end}-{python}": (end, python) for end, python in chosen}


def find_pythons(names: Iterable[str]) -> dict[str, str]:
    """Returns the interpreters that run, by their version, the oldest first."""
    found = {}
    for name in filter(None, map(shutil.which, names)):
        say = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([name, "-c", say], capture_output=True, text=True)
        if answer.returncode == 0:  # a shim of that name can exist and not run
            found[answer.stdout.strip()] = name
    return dict(sorted(found.items(), key=lambda pair: int(pair[0].split(".")[1])))


def read_junit(report: Path) -> tuple[int, int, list[str]]:
    """Returns how many tests passed and were skipped, and which failed, from pytest's XML."""
    passed, skipped, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return passed, skipped, failed


def install(end: str, interpreter: str, inside: str) -> list[list[str]]:
    """Returns the commands that make an environment whose Python is `inside`."""
    pip = [inside, "-m", "pip", "install", "--quiet", "--upgrade"]
    return [
        [interpreter, "-m", "venv", str(Path(inside).parents[1])],
        [*pip, *choose(end, read_requirements())],
        [*pip, *CLASSIC],
        [*pip, *PACKAGE],
    ]


def check(end: str, python: str, interpreter: str, folder: Path) -> Result:
    """Makes the environment of an end and runs the tests there.

    Args:
        folder: takes the environment `venv`, the log and pytest's reports.
    """
    result = Result(end, python)
    folder.mkdir(parents=True, exist_ok=True)
    inside = str(folder / "venv" / "bin" / "python")
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    runs = {"classic": ([], environment)}
    if home := environment.get("SOLO_LEARN_HOME"):
        path = {"PYTHONPATH": os.path.abspath(home)}
        runs["current"] = (["tests/hosts/current"], environment | path)

    with (folder / "log.txt").open("w") as log:
        for command in install(end, interpreter, inside):
            if subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode:
                result.faults.append(f"not installed: see {log.name}")
                return result
        listed = subprocess.check_output([inside, "-c", LIST_VERSIONS, *COLUMNS], text=True)
        result.versions = json.loads(listed)
        for name, (tests, variables) in runs.items():
            report = folder / f"{name}.xml"
            report.unlink(missing_ok=True)
            command = [inside, "-m", "pytest", "-q", "-m", "not slow", f"--junitxml={report}"]
            subprocess.run([*command, *tests], cwd=ROOT, env=variables, stdout=log, stderr=log)
            if report.exists():
                passed, skipped, failed = read_junit(report)
                result.passed += passed
                result.skipped += skipped
                result.faults += failed
            else:
                result.faults.append(f"pytest did not end: see {log.name}")
    return result


def table(results: Iterable[Result]) -> str:
    """Returns the results as a table in Markdown."""
    head = ["end", "Python", *COLUMNS, "passed", "failed", "skipped", "date"]
    rows = [head, ["---"] * len(head)]
    for result in results:
        versions = [result.versions.get(name, "") for name in COLUMNS]
        numbers = [str(result.passed), str(len(result.faults)), str(result.skipped)]
        rows.append([result.end, result.python, *versions, *numbers, result.day])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Runs the ends that have no result yet, and returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ends", nargs="*", metavar="END", help="such as newest-3.11 (default: all)")
    parser.add_argument("--python", nargs="+", default=PYTHONS, help="interpreters to try")
    parser.add_argument("--folder", type=Path, default=ROOT / ".versions", help="for what is made")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    args = parser.parse_args()
    pythons = find_pythons(args.python)
    if not pythons:
        parser.error(f"--python: none of {' '.join(args.python)} runs")
    ends = plan(pythons)
    if unknown := set(args.ends) - set(ends):
        parser.error(f"no end {', '.join(sorted(unknown))}; there are {', '.join(ends)}")

    results = []
    for name in args.ends or ends:
        stored = args.folder / f"{name}.json"
        if args.again or not stored.exists():
            print(f"{name} ...", file=sys.stderr)
            end, python = ends[name]
            result = check(end, python, pythons[python], args.folder.resolve() / name)
            stored.write_text(json.dumps(asdict(result), indent=2))
        results.append(Result(**json.loads(stored.read_text())))
        for fault in results[-1].faults:
            print(f"{name}: {fault}", file=sys.stderr)
    print(table(results))
    return int(any(result.faults for result in results))


if __name__ == "__main__":
    sys.exit(main())
