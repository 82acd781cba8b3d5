"""The archives that a package index would have: what they hold, and that they install and run."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import setuptools  # noqa: F401 - brings distutils, which Python has no longer from 3.12 on
import yaml

from distutils.core import run_setup  # isort: skip

from solo_rekd import __version__

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)]+)\)")
BUILD = "import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
LEFT_OUT = shutil.ignore_patterns(".git*", ".venv*", "__pycache__", "runs", "build", "*.egg-info")
SCRIPT = """
import torch
import solo_rekd

teacher = solo_rekd.load_teacher("resnet50", "moco.pth", size=224)
objective = solo_rekd.make_objective(
    "seed", teacher=teacher, features_dim=512, img_size=224, max_epochs=100, queue_size=4096
)
loss, logs = objective(images=[torch.ones(1)], features=[torch.ones(1)])
objective.update_momentum(0.5)
try:
    solo_rekd.load_teacher("resnet50")
except solo_rekd.UserError as error:
    print(error)
mistake: int = objective.name
solo_rekd.load_teacher(50)
solo_rekd.no_such_name
"""


@pytest.fixture(scope="module")
def distribution() -> Any:
    return run_setup(str(ROOT / "setup.py"), stop_after="init")


def test_the_readme_leads_somewhere_from_an_index(distribution: Any) -> None:
    url = distribution.metadata.url
    links = LINK.findall(distribution.metadata.long_description)
    assert links and all(link.startswith(("https:", "#")) for link in links)
    ours = [link for link in links if link.startswith(url)]
    for link in ours:
        path, _, _ = link.removeprefix(f"{url}/blob/main/").partition("#")
        assert (ROOT / path).exists(), link


def test_the_address_of_the_project_is_one_placeholder(distribution: Any) -> None:
    url = distribution.metadata.url
    assert all(each.startswith(url) for each in distribution.metadata.project_urls.values())
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["url"] == cited["repository-code"] == url
    assert (ROOT / "setup.py").read_text().count(url) == 1


def test_the_citation_is_of_this_version(distribution: Any) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert (cited["version"], cited["license"]) == (__version__, distribution.metadata.license)
    for work in (cited, *cited["references"]):
        assert work["title"] and work["authors"] and work["type"]
        for author in work["authors"]:
            assert {*author} in ({"name"}, {"given-names", "family-names"})
    assert any("2112.04174" in work["url"] for work in cited["references"])


def test_pythons_of_the_metadata_are_those_that_are_tried(distribution: Any) -> None:
    named = re.findall(r"Python :: (3\.\d+)'", str(distribution.metadata.classifiers))
    assert f">={named[0]}" == distribution.python_requires
    tried = (ROOT / "docs" / "versions.md").read_text()
    assert all(f"| {version} |" in tried for version in (named[0], named[-1]))


def test_the_image_of_docker_names_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    (install,) = [line for line in lines if "make install" in line]
    words = install.partition("make")[2].partition("&&")[0].replace('"', "").split()
    words = [word.replace("${TORCH_INDEX}", "URL") for word in words]
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "/opt/venv/bin/python -m pip" in done.stdout
    given = {word.partition("=")[0] for word in words if "=" in word}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{name} *:?=", makefile, re.MULTILINE) for name in given)
    arguments = {line.split()[1].partition("=")[0] for line in lines if line.startswith("ARG ")}
    assert arguments == set(re.findall(r"\$\{(\w+)\}", "\n".join(lines)))
    left_out = (ROOT / ".dockerignore").read_text().split()
    locks = ("requirements.lock", "requirements-classic.lock")
    needed = ("Makefile", *locks, "requirements.txt", "setup.py", "pyproject.toml", "solo_rekd.pth")
    assert not {*left_out} & {*needed, "README.md", "scripts", "solo_rekd", "hydra_plugins"}


def test_the_package_says_that_it_has_types(distribution: Any) -> None:
    assert "py.typed" in distribution.package_data["solo_rekd"]
    assert (ROOT / "solo_rekd" / "py.typed").read_text() == ""


def build(hook: str, source: Path, out: Path) -> Path:
    """Builds an archive as `python -m build` does, without a download."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD.format(hook=hook), str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=LEFT_OUT)
    return build("build_sdist", folder / "source", folder / "dist")


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, from the source archive alone."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return build("build_wheel", folder / f"solo_rekd-{__version__}", folder / "dist")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which finds the other packages in that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index"]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True)
    (site,) = (folder / "lib").glob("*/site-packages")
    others = Path(str(find_spec("torch").origin)).parents[1]  # type: ignore[union-attr]
    (site / "zz.pth").write_text(f"import site; site.addsitedir({str(others)!r})\n")
    return folder


def run(environment: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the environment in a folder where nothing of ours lies."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    (environment / "empty").mkdir(exist_ok=True)
    return subprocess.run(
        [str(environment / "bin" / words[0]), *words[1:]],
        cwd=environment / "empty",
        env=inherited,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_archives_hold_what_they_are_to(archive: Path, wheel: Path) -> None:
    with tarfile.open(archive) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    assert {"tests/test_packaging.py", "docs/python.md", "CITATION.cff", "Dockerfile"} <= sources
    assert not [name for name in sources if "__pycache__" in name or name.startswith(".git")]
    names = {*zipfile.ZipFile(wheel).namelist()}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "solo_rekd").rglob("*.py")}
    recipes = {str(path.relative_to(ROOT)) for path in (ROOT / "scripts").rglob("*.yaml")}
    recipes = {path for path in recipes if path.startswith(("scripts/pretrain", "scripts/linear"))}
    wanted = package | {f"solo_rekd/recipes{path.removeprefix('scripts')}" for path in recipes}
    wanted |= {"solo_rekd.pth", "solo_rekd/py.typed", "hydra_plugins/solo_rekd/__init__.py"}
    assert wanted <= names
    assert {name.partition("/")[0] for name in names} <= {
        "solo_rekd", "hydra_plugins", "solo_rekd.pth", f"solo_rekd-{__version__}.dist-info"
    }  # fmt: skip


@pytest.mark.slow
def test_the_wheel_runs_and_the_plug_in_is_in_force(environment: Path) -> None:
    helped = run(environment, "solo-rekd", "--help")
    assert helped.returncode == 0 and "doctor" in helped.stdout
    looked = run(environment, "solo-rekd", "doctor", "--json")
    found = {each["subject"]: each for each in json.loads(looked.stdout)}
    assert looked.returncode == 0, looked.stdout
    assert str(environment) in found["solo-rekd"]["text"]
    assert str(environment) in found["start-up hook"]["text"]
    where = run(environment, "python", "-c", "import solo_rekd; print(solo_rekd.losses.__file__)")
    assert where.stdout.startswith(str(environment))


@pytest.mark.slow
def test_the_demo_begins(environment: Path, tmp_path: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    demo = subprocess.Popen(
        [str(environment / "bin" / "solo-rekd"), "demo", "--host", "classic", "--epochs", "1"],
        cwd=tmp_path,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        while demo.poll() is None and not (tmp_path / "runs/demo/plan.json").exists():
            time.sleep(1)
        assert demo.poll() is None, demo.communicate()[0]
        assert len([*tmp_path.glob("runs/demo/digits/train/*/*.png")]) == 1437
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate()


@pytest.mark.trial
def test_a_script_of_a_users_is_checked(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", str(environment / "bin" / "python"),
         "--ignore-missing-imports", "--follow-imports=silent", "--cache-dir=cache", "script.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    *errors, last = done.stdout.splitlines()
    number = len(SCRIPT.splitlines())
    assert [re.findall(r"script\.py:(\d+):.*\[([\w-]+)\]", line) for line in errors] == [
        [(str(number - 2), "assignment")],
        [(str(number - 1), "arg-type")],
        [(str(number), "attr-defined")],
    ], done.stdout
    assert last.startswith("Found 3 errors in 1 file")
