"""The lock files: every package of every Python and system at one version, every file by a hash."""

import re
from collections.abc import Iterator
from pathlib import Path

import locked
import pytest
from check_versions import PYTHONS
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-classic.lock", "docs/requirements.lock")
# of CUDA's libraries those that another package than torch needs
STAY = {"nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "nvidia-nvjpeg", "nvidia-nvjpeg2k-cu13"}


def environments() -> Iterator[dict[str, str]]:
    """Every Python that is tried on the systems that Python packages are made for."""
    systems = {
        "linux": ("Linux", "posix"),
        "darwin": ("Darwin", "posix"),
        "win32": ("Windows", "nt"),
    }
    for python in (name.removeprefix("python") for name in PYTHONS):
        for platform, (system, name) in systems.items():
            yield {
                **{"python_version": python, "python_full_version": f"{python}.7"},
                **{"sys_platform": platform, "platform_system": system, "os_name": name},
                **{"platform_machine": "x86_64", "implementation_name": "cpython"},
                "platform_python_implementation": "CPython",
            }


def requirement(entry: locked.Entry) -> Requirement:
    return Requirement(entry.text.splitlines()[0].rstrip("\\ "))


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_version_with_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = locked.read_entries(text)
    assert entries
    assert len(entries) == len(re.findall(r"^[^\s#]", text, re.MULTILINE))
    for entry in entries:
        assert re.fullmatch(r"==[^,*]+", str(requirement(entry).specifier)), entry.name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry.text), entry.name
    assert "://" not in text and "index-url" not in text and "find-links" not in text


@pytest.mark.parametrize("name", ["requirements", "docs/requirements"])
def test_a_lock_holds_every_pin_in_every_environment(name: str) -> None:
    lines = (ROOT / f"{name}.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    entries = [
        requirement(entry) for entry in locked.read_entries((ROOT / f"{name}.lock").read_text())
    ]
    for environment in environments():
        if name.startswith("docs") and environment["python_version"] == "3.10":
            continue  # the site's packages need 3.11
        found: dict[str, str] = {}
        for entry in entries:
            if entry.marker is None or entry.marker.evaluate(environment):
                assert entry.name not in found, (entry.name, environment)
                found[entry.name] = str(entry.specifier)
        for pin in pins:
            if pin.marker is None or pin.marker.evaluate(environment):
                key = re.sub("[-_.]+", "-", pin.name.lower())
                if not name.startswith("docs") or key in found:  # colorama is of Windows
                    assert found.get(key) == str(pin.specifier), (key, environment)


def test_another_torch_brings_what_it_needs_of_cuda() -> None:
    entries = locked.read_entries((ROOT / "requirements.lock").read_text())
    kept = {entry.name for entry in locked.without_torch(entries)}
    gone = {entry.name for entry in entries} - kept
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-bindings"} <= gone
    assert all(name in locked.TORCH or locked.CUDA.fullmatch(name) for name in gone)
    assert kept >= STAY
    assert {"numpy", "sympy", "networkx", "filelock"} <= kept  # of every torch


def test_what_builds_a_package_is_in_the_lock(capsys: pytest.CaptureFixture[str]) -> None:
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "--only" in line)
    names = line.partition("--only")[2].partition(">")[0].split()
    entries = locked.read_entries((ROOT / "requirements.lock").read_text())
    assert {"setuptools", "wheel"} <= set(names) <= {entry.name for entry in entries}
