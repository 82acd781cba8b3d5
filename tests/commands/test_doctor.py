"""Every trouble, provoked in processes of their own; stubs stand for the large packages."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from solo_rekd import __version__
from solo_rekd.commands.doctor import finding, machine, packages, registration
from solo_rekd.commands.doctor.imported import import_all
from solo_rekd.commands.doctor.packages import NEEDED, OPTIONAL

ROOT = Path(__file__).parents[2]
RUN = "from solo_rekd.cli import main; main()"
LINE = re.compile(r"(ok|note|trouble) {2,}\S.*")
TORCH = """
__version__ = "2.14.1"
class version:
    cuda = None
class cuda:
    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
def zeros(*shape): return shape
class nn: pass
"""
TORCHVISION = """
__version__ = "0.29.1"
class ops:
    @staticmethod
    def nms(*given): {nms}
"""
# of a GPU, to be added to that
SEEN = """
cuda.get_device_name = staticmethod(lambda place: "H100")
version.cuda = "13.0"
"""
# stands in for the adapters, which need the real packages
REGISTER = """
import sys, types
METHODS = {}
def activate():
    METHODS["rekd"] = types.SimpleNamespace(objective_class=None)
if "solo_rekd.hosts" not in sys.modules:
    sys.modules["solo_rekd.hosts"] = types.SimpleNamespace(activate=activate)
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of stubs: each package, and a solo-learn."""
    folder = tmp_path / "stubs"
    modules = [*NEEDED.values(), *(each for use in OPTIONAL.values() for each in use.values())]
    for module in modules:
        write(folder, module, "__version__ = '99.0'")
    write(folder, "torch", TORCH)
    write(folder, "torchvision", TORCHVISION.format(nms="pass"))
    write(folder, "solo.args.setup", "")
    write(folder, "solo.methods", REGISTER)
    write(folder, "solo.args", "import solo.methods")
    return folder


def write(folder: Path, module: str, text: str) -> None:
    package = folder.joinpath(*module.split("."))
    package.mkdir(parents=True, exist_ok=True)
    for each in (package, *package.parents):
        if each == folder:
            break
        (each / "__init__.py").touch()
    if module == "solo.args.setup":  # which is how a solo-learn is known
        package.with_suffix(".py").write_text(text)
        (package / "__init__.py").unlink()
        package.rmdir()
    else:
        (package / "__init__.py").write_text(text)


def doctor(
    stubs: Path | None, *flags: str, words: tuple[str, ...] = ("--json",), **env: str
) -> tuple[int, str, str]:
    """Runs the command, with the stubs before the installed packages."""
    inherited = {key: value for key, value in os.environ.items() if key != "SOLO_REKD_AUTOLOAD"}
    path = os.pathsep.join(map(str, filter(None, (stubs, ROOT))))
    done = subprocess.run(
        [sys.executable, *flags, "-c", RUN, "doctor", *words],
        env=inherited | {"PYTHONPATH": path} | env,
        cwd=ROOT if stubs is None else stubs.parent,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def findings(*args: Any, **kwargs: Any) -> dict[str, dict[str, str]]:
    """What the command finds, by subject, after a look at its exit code."""
    code, out, err = doctor(*args, **kwargs)
    found = json.loads(out)
    troubles = [each for each in found if each["level"] == "trouble"]
    assert (code, err) == (int(bool(troubles)), "")
    assert all(each["fix"] for each in troubles)
    assert all(bool(each["fix"]) == (each["level"] == "trouble") for each in found)
    return {each["subject"]: each for each in found}


def troubles(found: dict[str, dict[str, str]]) -> set[str]:
    return {subject for subject, each in found.items() if each["level"] == "trouble"}


def test_where_nothing_is_wrong_each_finding_is_one_line(stubs: Path) -> None:
    code, out, err = doctor(stubs, words=())
    *lines, last = out.splitlines()
    assert (code, err, last) == (0, "", "0 troubles")
    assert all(LINE.fullmatch(line) for line in lines)
    assert {line.split()[1] for line in lines} >= {"Python", "torch", "solo-learn,", "cache"}


BROKEN = {
    "raises": ("timm", "raise RuntimeError('two\\nlines')", "timm", "RuntimeError: two"),
    "exits": ("timm", "raise SystemExit(3)", "timm", "SystemExit: 3"),
    "prints": ("timm", "print('solo-rekd'); import no_such", "timm", "no_such"),
    "ends Python": ("timm", "import os; os._exit(3)", "timm", "exit code 3"),
    "crashes": (
        *("timm", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        *("timm", "SIGSEGV"),
    ),
    "torch": ("torch", "raise ImportError('libcudart.so.13')", "torch", "libcudart"),
    "an extra": ("onnx", "raise ImportError('x')", "export to ONNX", "onnx is broken"),
    "the host": ("solo.args.setup", "import no_such", "solo-learn, classic", "no_such"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_a_finding(case: str, stubs: Path) -> None:
    module, text, subject, said = BROKEN[case]
    write(stubs, module, text)
    found = findings(stubs)
    expected = {subject} | ({"torchvision"} if case == "torch" else set())
    assert troubles(found) == expected
    assert said in found[subject]["text"] and "pip install" in found[subject]["fix"]


def test_a_torchvision_of_another_torch(stubs: Path) -> None:
    nms = "raise RuntimeError('operator torchvision::nms does not exist')"
    write(stubs, "torchvision", TORCHVISION.format(nms=nms))
    found = findings(stubs)
    assert troubles(found) == {"torchvision"}
    assert "does not work with torch 2.14.1" in found["torchvision"]["text"]
    assert "torch==2.14.1" in found["torchvision"]["fix"]


def test_a_version_that_is_too_old(stubs: Path) -> None:
    write(stubs, "torch", TORCH.replace("2.14.1", "2.1.0"))
    found = findings(stubs)
    assert troubles(found) == {"torch"} and ">=2.6" in found["torch"]["fix"]


def test_a_gpu_that_torch_does_not_see(stubs: Path) -> None:
    program = stubs.parent / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.1'\n")
    program.chmod(0o755)
    found = findings(stubs, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert troubles(found) == {"GPU"}
    assert "NVIDIA H100, 580.1" in found["GPU"]["text"] and "torch" in found["GPU"]["fix"]
    write(stubs, "torch", TORCH.replace("False", "True").replace(": 0)", ": 1)") + SEEN)
    found = findings(stubs, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert not troubles(found) and "H100" in found["GPU"]["text"]


@pytest.mark.parametrize("place", ["/proc/none", "FILE"])
def test_a_cache_that_cannot_be_written(place: str, stubs: Path) -> None:
    (stubs.parent / "FILE").touch()
    found = findings(stubs, XDG_CACHE_HOME=place.replace("FILE", str(stubs.parent / "FILE")))
    assert troubles(found) == {"cache"}
    assert "cannot be written to" in found["cache"]["text"]
    assert found["cache"]["fix"].startswith("export XDG_CACHE_HOME=")


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOM", float("inf"))
    found = machine.look_at_folder("cache", tmp_path / "not" / "there", "elsewhere")
    assert found.level == "trouble" and found.text.startswith("only ")
    assert not (tmp_path / "not").exists() and not [*tmp_path.iterdir()]


def test_the_hook_turned_off(stubs: Path) -> None:
    found = findings(stubs, SOLO_REKD_AUTOLOAD="0")
    assert troubles(found) == {"start-up hook", "plug-in in classic"}
    fixes = {found[subject]["fix"] for subject in troubles(found)}
    assert fixes == {"unset SOLO_REKD_AUTOLOAD"}


def test_python_without_its_site_packages_has_neither_host_nor_packages(tmp_path: Path) -> None:
    found = findings(None, "-S")
    expected = {*NEEDED, "solo-learn", "solo-rekd", "start-up hook", "entry points"}
    assert troubles(found) >= expected
    assert "-S" in found["start-up hook"]["text"]
    assert found["torch"]["text"] == "not installed"
    assert found["NVIDIA DALI"]["level"] == "note"
    assert "solo-learn==1.0.2" in found["solo-learn"]["fix"]


def test_a_plug_in_that_cannot_be_activated_says_why(stubs: Path) -> None:
    fails = "def activate():\n    raise ValueError('why')"
    write(stubs, "solo.methods", REGISTER.replace("def activate():", fails))
    found = findings(stubs)
    assert troubles(found) == {"plug-in in classic"}
    assert "ValueError: why" in found["plug-in in classic"]["text"]


def test_a_package_that_is_another_than_the_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo_rekd.__version__", "9.9")
    found = registration.look_at_package()
    assert found.level == "trouble" and __version__ in found.text and "--force" in found.fix


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LOWEST", (9, 9))
    assert packages.look_at_python().level == "trouble"


def test_a_user_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(machine, "user_cache", no_home)
    found = next(machine.look())
    assert found.level == "trouble" and "no home" in found.text


def test_a_python_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = import_all(["torch", "timm"]).modules
    assert {*found} == {"torch", "timm"} and all("error" in facts for facts in found.values())


def test_the_packages_are_those_of_setup() -> None:
    text = (ROOT / "setup.py").read_text()
    asked = set(re.findall(r'"([a-z][\w-]*)[><=]=', text))
    assert {*NEEDED} <= asked
    known = {package for use in OPTIONAL.values() for package in use}
    assert known <= asked


def test_what_an_extra_asks_for() -> None:
    assert "hydra-core>=1.3.2" in packages.of_extra("current")
    assert packages.of_extra("no_such") == ["solo-rekd[no_such]"]


def test_lines_count_the_troubles() -> None:
    one = finding.Finding("trouble", "a", "b\nc", "d")
    assert [*finding.as_lines([one])] == ["trouble  a  b c; to fix it: d", "1 trouble"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("solo") is None, reason="solo-learn is not installed")
def test_this_environment() -> None:
    found = findings(None)
    names = ("torch", "torchvision", "timm", "solo-learn, classic", "plug-in in classic")
    assert {found[name]["level"] for name in names} == {"ok"}
