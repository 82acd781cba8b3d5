"""`.ci/run` and the workflow: which hosts are tested, and what is said of it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RUN = ROOT / ".ci" / "run"
VERSIONS = ROOT / "scripts" / "check_versions.py"
# Stands for make: says what it was given.
MAKE = """#!/bin/sh
echo "given: $*"
echo "classic: ${SOLO_LEARN_CLASSIC_HOME-none}"
ls "${SOLO_LEARN_CLASSIC_HOME:-/nowhere}" 2>/dev/null
exit ${CODE:-0}
"""


@pytest.fixture
def run(tmp_path):
    """Runs `.ci/run` with a stand-in for make, and returns the exit code and the lines."""
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text(MAKE)
    make.chmod(0o755)

    def start(*argv, **env):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if "SOLO_LEARN" not in name}
        done = subprocess.run(
            [RUN, *argv],
            env=kept | {"PATH": path, "HOME": str(tmp_path)} | env,
            capture_output=True,
            text=True,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return start


def make_checkout(folder: Path) -> str:
    """Makes what looks like a checkout of the main branch, and returns its commit."""
    (folder / "solo" / "args").mkdir(parents=True)
    (folder / "solo" / "args" / "pretrain.py").touch()
    user = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*user, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    shown = subprocess.check_output(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"])
    return shown.decode().strip()


def test_without_a_checkout_it_says_so(run):
    code, lines = run("PYTHON=python3")
    assert code == 0
    assert lines[0] == "given: test-all SOLO_LEARN_HOME= PYTHON=python3"
    assert lines[1] == "classic: none"
    assert "main-branch adapter: no: " in lines[-2]
    assert "unedited scripts: no: " in lines[-1]


@pytest.mark.parametrize("place", ["cache", "given"])
def test_a_checkout_is_tested_and_its_commit_is_named(place, run, tmp_path):
    folder = tmp_path / ".cache" / "solo-learn" if place == "cache" else tmp_path / "clone"
    commit = make_checkout(folder)
    code, lines = run(**({"SOLO_LEARN_HOME": str(folder)} if place == "given" else {}))
    assert code == 0
    assert lines[0] == f"given: test-all SOLO_LEARN_HOME={folder}"
    assert lines[1] == "classic: none"
    assert f"on solo-learn {commit} in {folder}" in lines[-2]
    assert "unedited scripts: no: " in lines[-1]  # its history has no 1.0.2


def test_a_failure_is_the_exit_code_and_does_not_hide_what_was_tested(run):
    code, lines = run(CODE="3")
    assert code == 3
    assert "failed" in lines[-3] and "main-branch adapter" in lines[-2]


def test_a_folder_that_was_given_and_is_no_checkout_is_refused(run, tmp_path):
    code, lines = run(SOLO_LEARN_HOME=str(tmp_path))
    assert code == 2
    assert lines == [f"SOLO_LEARN_HOME={tmp_path} holds no checkout of solo-learn's main branch"]


def test_the_scripts_of_the_wheel_are_taken_from_the_history(run):
    home = os.environ.get("SOLO_LEARN_HOME")
    wanted = ["git", "-C", str(home), "cat-file", "-e", "a829643^{commit}"]
    if not home or shutil.which("git") is None or subprocess.run(wanted).returncode:
        pytest.skip("SOLO_LEARN_HOME names no clone of solo-learn that holds commit a829643")
    code, lines = run(SOLO_LEARN_HOME=home)
    assert code == 0
    assert "main_pretrain.py" in lines
    assert "of commit a829643" in lines[-1]
    assert not Path(lines[1].removeprefix("classic: ")).exists()  # it leaves nothing behind


@pytest.mark.skipif(not VERSIONS.exists(), reason="scripts/check_versions.py is not there")
def test_the_workflow_tests_the_pythons_that_check_versions_does():
    spec = importlib.util.spec_from_file_location("check_versions", VERSIONS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert [f"python{version}" for version in matrix] == module.PYTHONS
