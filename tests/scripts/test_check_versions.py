"""Tests what scripts/check_versions.py decides; its environments take minutes and gigabytes."""

import subprocess
import sys
from pathlib import Path

import check_versions
import pytest
from check_versions import (
    ROOT,
    Result,
    choose,
    install,
    lower,
    plan,
    read_junit,
    read_requirements,
    table,
)
from packaging.requirements import Requirement

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SCRIPT = str(ROOT / "scripts" / "check_versions.py")
JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_good" />
<testcase classname="tests.test_a" name="test_bad[1]"><failure message="no" /></testcase>
<testcase classname="tests.test_a" name="test_broken"><error message="no" /></testcase>
<testcase classname="tests.test_a" name="test_left"><skipped message="no GPU" /></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("requirements", "lowest"),
    [
        (["torch>=2.6"], ["torch==2.6"]),
        (["pytorch-lightning>=1.9.5,<2"], ["pytorch-lightning==1.9.5"]),
        (["setuptools<82"], ["setuptools<82"]),
        (["lightning-bolts==0.7.0", "tqdm"], ["lightning-bolts==0.7.0", "tqdm"]),
        (["torch>=2.6", "onnx>=1.17", "torch>=2.7.1"], ["torch==2.6", "onnx==1.17"]),
    ],
)
def test_the_lowest_end_takes_lower_bounds_exactly(
    requirements: list[str], lowest: list[str]
) -> None:
    assert lower(map(Requirement, requirements)) == lowest


def test_the_requirements_are_those_of_setup_py_with_every_extra() -> None:
    names = {requirement.name for requirement in read_requirements()}
    assert {"torch", "pytorch-lightning", "lightning", "onnx", "scikit-learn", "pytest"} <= names


def test_every_need_of_the_package_has_a_lower_bound_that_the_lowest_end_tries() -> None:
    tools = {"pytest-cov", "ruff", "mypy", "import-linter", "setuptools"}
    lowest = [Requirement(line) for line in choose("lowest", read_requirements())]
    assert {line.name for line in lowest if "==" not in str(line)} <= tools


def test_the_newest_end_holds_back_what_setup_py_does_and_no_more() -> None:
    requirements = [Requirement("torch>=2.6"), Requirement("pytorch-lightning>=1.9.5,<2")]
    assert choose("newest", requirements) == ["torch>=2.6", "pytorch-lightning<2,>=1.9.5"]


def test_the_end_of_the_host_has_its_lightning() -> None:
    assert choose("host", [Requirement("torch>=2.6")]) == ["torch>=2.6", *check_versions.HOST]


def test_every_python_has_the_newest_and_the_oldest_has_all() -> None:
    ends = plan({"3.10": "a", "3.11": "b"})
    assert ends == {
        "lowest-3.10": ("lowest", "3.10"),
        "host-3.10": ("host", "3.10"),
        "newest-3.10": ("newest", "3.10"),
        "newest-3.11": ("newest", "3.11"),
    }


def test_pythons_that_do_not_run_are_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "python3.10"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    names = [str(shim), str(tmp_path / "python3.14"), sys.executable]
    assert check_versions.find_pythons(names) == {PYTHON: sys.executable}


def test_pytests_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(JUNIT)
    failed = ["tests.test_a::test_bad[1]", "tests.test_a::test_broken"]
    assert read_junit(report) == (1, 1, failed)


def test_the_table_has_a_row_an_end() -> None:
    good = Result("lowest", "3.10", "2026-01-02", {"torch": "2.6.0", "numpy": "1.26.0"}, 7, 3)
    head, _, *rows = table([good, Result("newest", "3.11", "2026-01-02", faults=["a"])]).split("\n")
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (head, *rows)]
    shown = dict(zip(cells[0], cells[1], strict=True))
    assert (shown["Python"], shown["torch"], shown["numpy"]) == ("3.10", "2.6.0", "1.26.0")
    assert cells[1][-4:] == ["7", "0", "3", "2026-01-02"]
    assert cells[2][-4:] == ["0", "1", "0", "2026-01-02"]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True)


def test_a_stored_result_is_shown_and_not_run_again(tmp_path: Path) -> None:
    name = f"newest-{PYTHON}"
    stored = '{"end": "newest", "python": "3.11", "day": "2026-01-02", "passed": 9, "faults": %s}'
    command = [name, "--folder", str(tmp_path), "--python", sys.executable]

    (tmp_path / f"{name}.json").write_text(stored % "[]")
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| 9 | 0 | 0 | 2026-01-02 |" in done.stdout

    (tmp_path / f"{name}.json").write_text(stored % '["tests.test_a::test_bad"]')
    done = run(*command)
    assert done.returncode == 1
    assert f"{name}: tests.test_a::test_bad" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json"}


def test_an_unknown_end_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = run("newest", "--folder", str(tmp_path), "--python", sys.executable)
    assert done.returncode == 2
    assert "lowest-" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_host_goes_in_after_the_requirements_and_brings_none_of_its_own() -> None:
    venv, first, host, package = install("newest", "python3.10", "/folder/venv/bin/python")
    assert venv == ["python3.10", "-m", "venv", "/folder/venv"]
    assert all(command[0] == "/folder/venv/bin/python" for command in (first, host, package))
    assert "--no-deps" not in first
    assert host[-2:] == ["--no-deps", "solo-learn==1.0.2"]
    assert {"--no-deps", "--editable", str(ROOT)} <= set(package)
