"""The start-up hook as installed: every test starts a Python of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOOK = ROOT / "solo_rekd.pth"
OURS = "sorted(name for name in sys.modules if name.startswith('solo_rekd'))"
# Stands in for the adapters, and tells of each activation and of what the host has run by then.
STUB = """
import sys, types
def activate():
    print("activated", sys.modules["solo.args.setup"].DONE)
sys.modules["solo_rekd.hosts"] = types.SimpleNamespace(activate=activate)
"""
# runs the hook's line of this checkout where the installed one was told not to
RUN_LINE = f"import os; del os.environ['SOLO_REKD_AUTOLOAD']; exec(open({str(HOOK)!r}).read())"
WATCHERS = "sum(type(finder).__name__ == 'HostWatcher' for finder in sys.meta_path)"
IMPORT_HOST = f"import sys, solo.args.setup as m; print(m.DONE, {WATCHERS})"


def run_python(code: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new interpreter that finds modules in `path` before the installed ones."""
    inherited = {key: value for key, value in os.environ.items() if key != "SOLO_REKD_AUTOLOAD"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": str(path), **env},
        cwd=path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with a host of one module, which shadows the installed one."""
    package = tmp_path / "solo" / "args"
    package.mkdir(parents=True)
    (tmp_path / "solo" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "setup.py").write_text("DONE = True\n")
    return tmp_path


def test_start_imports_nothing_of_ours(tmp_path: Path) -> None:
    code = f"import sys; {RUN_LINE}; print({OURS}, {WATCHERS}, 'torch' in sys.modules)"
    done = run_python(code, tmp_path, SOLO_REKD_AUTOLOAD="0")
    assert done.stdout == "[] 1 False\n"
    assert done.stderr == ""


def test_a_line_that_a_virtual_environment_runs_twice_leaves_one_watcher(tmp_path: Path) -> None:
    code = f"import sys; {RUN_LINE}; exec(open({str(HOOK)!r}).read()); print({WATCHERS})"
    assert run_python(code, tmp_path, SOLO_REKD_AUTOLOAD="0").stdout == "1\n"


def test_switched_off_imports_nothing(tmp_path: Path) -> None:
    code = f"import sys; print({OURS}, {WATCHERS})"
    assert run_python(code, tmp_path, SOLO_REKD_AUTOLOAD="0").stdout == "[] 0\n"


def test_cost_of_the_line_at_start(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        f"line = open({str(HOOK)!r}).read()\n"
        "del os.environ['SOLO_REKD_AUTOLOAD']\n"
        "before = set(sys.modules)\n"
        "start = time.perf_counter()\n"
        "exec(line)\n"
        "cost = time.perf_counter() - start\n"
        "print(cost, *sorted(set(sys.modules) - before))"
    )
    # Empty: coverage must not be there to slow what is measured.
    quiet = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
    costs = []
    for _ in range(10):
        done = run_python(code, tmp_path, SOLO_REKD_AUTOLOAD="0", **quiet)
        cost, *imported = done.stdout.split()
        assert imported == []
        costs.append(float(cost))
    assert min(costs) < 2e-3  # the least: a busy machine only ever adds


@pytest.mark.parametrize("left", [None, "", "def"], ids=["gone", "empty", "torn"])
def test_half_removed_package_says_so_beside_the_host(host: Path, left: str | None) -> None:
    package = host / "solo_rekd"
    package.mkdir()
    (package / "__init__.py").touch()
    if left is not None:
        (package / "autoload.py").write_text(left)
    done = run_python(f"{RUN_LINE}; {IMPORT_HOST}", host, SOLO_REKD_AUTOLOAD="0")
    assert done.stdout == "True 0\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("solo-rekd: ") and "Error(" in line and "solo_rekd.pth" in line


def test_without_a_stderr_nothing_is_printed(host: Path) -> None:
    (host / "solo_rekd.py").touch()  # no package
    code = f"import sys; sys.stderr = None; {RUN_LINE}; {IMPORT_HOST}"
    assert run_python(code, host, SOLO_REKD_AUTOLOAD="0").stdout == "True 0\n"


def test_the_line_of_this_checkout_activates(host: Path) -> None:
    code = f"{STUB}\n{RUN_LINE}\n{IMPORT_HOST}"
    done = run_python(code, host, SOLO_REKD_AUTOLOAD="0")
    assert (done.stdout, done.stderr) == ("activated True\nTrue 0\n", "")


def test_without_the_host_nothing_happens(host: Path) -> None:
    (host / "solo" / "args" / "setup.py").unlink()
    code = (
        f"{STUB}\ntry:\n    import solo.args.setup\n"
        f"except ModuleNotFoundError as error:\n    print(error.name, {WATCHERS})"
    )
    assert run_python(code, host).stdout == "solo.args.setup 1\n"


def test_activates_once_after_the_host_module_has_run(host: Path) -> None:
    code = (
        f"{STUB}\n"
        "import importlib.util, solo.args\n"
        f"importlib.util.find_spec('solo.args.setup'); print('looked', {WATCHERS})\n"
        f"import solo.args.setup as module; print('imported', {WATCHERS})\n"
        "print(type(module.__loader__).__name__, type(module.__spec__.loader).__name__)\n"
        "importlib.reload(module)"
    )
    assert run_python(code, host).stdout.splitlines() == [
        "looked 1",
        "activated True",
        "imported 0",
        "SourceFileLoader SourceFileLoader",
    ]


def test_the_module_of_the_current_host_activates_too(host: Path) -> None:
    args = host / "solo" / "args"
    (args / "setup.py").rename(args / "pretrain.py")
    stub = STUB.replace("solo.args.setup", "solo.args.pretrain")
    code = f"{stub}\nimport solo.args.pretrain; print('imported', {WATCHERS})"
    assert run_python(code, host).stdout.splitlines() == ["activated True", "imported 0"]


@pytest.mark.parametrize("shown", ["0", "1"])
def test_a_broken_plugin_says_so_once_and_the_host_goes_on(shown: str, host: Path) -> None:
    code = (
        f"{STUB}\n"
        "def fail():\n    raise ValueError('two\\nlines')\n"
        "sys.modules['solo_rekd.hosts'].activate = fail\n"
        "import importlib, solo.args.setup as module; importlib.reload(module)\n"
        "from solo_rekd.autoload import activate; print(module.DONE, activate())"
    )
    done = run_python(code, host, SOLO_REKD_TRACEBACK=shown)
    assert done.stdout == "True False\n"
    *trace, last = done.stderr.splitlines()
    assert last == "solo-rekd: the plug-in is not active: ValueError: two lines"
    assert bool(trace) == (shown == "1")


def test_a_plugin_that_cannot_be_imported_leaves_the_host_alone(host: Path) -> None:
    code = "import sys; sys.modules['solo_rekd.hosts'] = None; import solo.args.setup as m"
    done = run_python(f"{code}; print(m.DONE, {WATCHERS})", host)
    assert done.stdout == "True 0\n"
    assert "not active: " in done.stderr and done.stderr.count("\n") == 1
