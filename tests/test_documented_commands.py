"""Every command line of README.md and docs/: bash reads them, and what each one starts is tried.

The shell blocks of a document, but for those marked `<!-- not run: REASON -->`, are one script, in
a folder of tiny images whose names are those that the documents give to the user's. bash expands
it; stand-ins for the programs note what they were given. A program or a command that no rule here
knows fails the test.
"""

import argparse
import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from documents import DOCUMENTS, ROOT, blocks, is_coming
from PIL import Image
from torch import nn

from solo_rekd import cli
from solo_rekd.backbones import build_backbone

HOME = os.environ.get("SOLO_LEARN_HOME") or None
PROGRAMS = ("python", "solo-rekd", "make", "pip", "srun", "black")
TOOLS = ("bash", "ls", "head", "dirname", "cat")
FOLDERS = ("DATA", "CIFAR", "IMAGENET", "FULL")
SPLITS = ("train", "val", "test", "tune", "teacher")
# of the documents' words for what is the user's own
WORDS = {
    "STUDENT": "alexnet",
    "METHOD": "rekd",
    "FILE": "resnet50.pth",
    "i": "0",
    "PHOTOS": "DATA/val",
}
CHECKPOINT = "trained_models/rekd/0/rekd-ep=0.ckpt"
# Commands that nothing is done with here, each with the reason.
LEFT_ALONE = {
    "pip install": "it changes the environment",
    "black": "it is for a checkout with the pull request laid over it",
    "python -m pytest": "the same: tests/test_upstream.py runs these tests",
    "make demo": "tests/test_demo.py runs it",
    "make test": "it is this run",
    "make bench": "tests/scripts/test_bench.py runs it",
    "make study": "tests/scripts/test_study.py runs it",
    "make reliability": "tests/scripts/test_reliability.py runs it",
    "make tables": "tests/scripts/test_study_tables.py runs it",
    "python -m search": "tests/scripts/test_search.py runs it",
    "python -c": "it measures the start-up hook; tests/test_autoload.py does the same",
    "make install": "it changes the environment; tests/test_makefile.py reads its commands",
}
NOTE = """#!{python} -S
import json, os, sys
call = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open({calls!r}, "a") as file:
    print(json.dumps(call), file=file)
"""
# what makes a documented training one of seconds; the last value of a flag counts
TINY = (
    "--max_epochs 2 --batch_size 8 --num_workers 0 --limit_train_batches 2 --limit_val_batches 1 "
    "--queue_size 128 --proj_hidden_dim 16 --accelerator cpu"
).split()
TINY_LINEAR = "--max_epochs 1 --batch_size 8 --num_workers 0 --accelerator cpu".split()
TINY_COMPARISON = (
    "--epochs 1 --seeds 1 --batch_size 32 --queue_size 128 --num_workers 0 --linear_epochs 1 "
    "--knn_k 5 --teacher timm:resnet10t"
).split()

Call = list[str]


class Started(Exception):
    """Everything about a command was checked, and its work would begin."""


def write_images(folder: Path, classes: int, number: int) -> None:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in range(classes):
            (folder / split / str(name)).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 256, (32, 32, 3)).astype("uint8")
                Image.fromarray(pixels).save(folder / split / str(name) / f"{index}.png")


def save_network(path: Path, network: nn.Module, **more: torch.Tensor) -> None:
    """Writes a network, and more tensors, as the classic host does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    state["classifier.weight"] = torch.zeros(2, 2)
    torch.save({"state_dict": state | more}, path)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the documents' commands name."""
    root = tmp_path_factory.mktemp("documents")
    write_images(root / "DATA", 2, 140)
    for name in FOLDERS[1:]:
        (root / name).symlink_to("DATA")
    for name in ("scripts", "Makefile"):
        (root / name).symlink_to(ROOT / name)
    save_network(root / CHECKPOINT, build_backbone("mobilenet_v3_small", 224))
    told = {"encoder": "mobilenet_v3_small", "crop_size": [224], "dataset": "custom"}
    (root / CHECKPOINT).with_name("args.json").write_text(json.dumps(told))
    head = nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 128)).state_dict()
    projector = {f"projector.{name}": tensor for name, tensor in head.items()}
    teacher = root / "teacher" / "mocov2plus" / "0" / "a-ep=6.ckpt"
    save_network(teacher, build_backbone("resnet18", 224), **projector)
    head = nn.Sequential(nn.Linear(2048, 16), nn.ReLU(), nn.Linear(16, 128)).state_dict()
    projector = {f"projector.{name}": tensor for name, tensor in head.items()}
    save_network(root / "resnet50.pth", build_backbone("resnet50", 224), **projector)
    # as scripts/take_lite_teacher.py does with weights that are not here
    lite = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    projector = {"projector.0.weight": torch.eye(128, 1280), "projector.0.bias": torch.zeros(128)}
    save_network(root / "lite0.pth", lite, **projector)
    (root / "lite0-128.pth").symlink_to("lite0.pth")
    for name in ("solo/losses/rekd.py", "tests/losses/test_rekd.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "bin").mkdir()
    for name in PROGRAMS:
        program = root / "bin" / name
        program.write_text(NOTE.format(python=sys.executable, calls=str(root / "calls")))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in TOOLS:
        (root / "bin" / name).symlink_to(str(shutil.which(name)))
    return root


def read_calls(document: str, sandbox: Path) -> list[Call]:
    """What bash starts for the commands of a document, in their order."""
    calls = sandbox / "calls"
    calls.write_text("")
    script = "\n".join(["set -euo pipefail", *blocks(document)])
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": str(sandbox / "bin"), "HOME": str(sandbox)},
        cwd=sandbox,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{document}: {done.stderr}"
    return [translate(json.loads(line)) for line in calls.read_text().splitlines()]


def translate(call: Call) -> Call:
    """Gives the user's own things in a call the names that they have in the sandbox."""
    words = []
    for word in call:
        for name, value in WORDS.items():
            word = re.sub(rf"(?<![\w-]){name}(?![\w-])", value, word)
        word = word.replace("'CHECKPOINT'", f"'{CHECKPOINT}'")
        word = CHECKPOINT if word == "CHECKPOINT" else word
        words.append(word)
    return words


def starts(call: Call, *prefix: str) -> bool:
    return call[: len(prefix)] == list(prefix)


def is_left_alone(call: Call) -> bool:
    return any(starts(call, *words.split()) for words in LEFT_ALONE)


def is_script_of_main(call: Call) -> bool:
    return call[0] == "python" and len(call) > 1 and bool(re.match(r"main_\w+\.py$", call[1]))


def is_script_of_ours(call: Call) -> bool:
    return call[0] == "python" and len(call) > 1 and call[1].startswith("scripts/")


@pytest.fixture
def command(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Call], None]:
    """Runs a `solo-rekd` command line in this process."""
    monkeypatch.chdir(sandbox)

    def run(call: Call) -> None:
        monkeypatch.setattr(sys, "argv", call)
        cli.main()

    return run


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Call], Any]]:
    """Composes what a script of the main branch is given; of several jobs, the first."""
    pytest.importorskip("hydra", reason="Hydra is not installed: solo-rekd[current]")
    from hydra import compose as compose_recipe
    from hydra import initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from solo_rekd.hosts.current import recipes

    recipes.store_defaults()
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-name", required=True)
    parser.add_argument("-m", action="store_true")
    parser.add_argument("overrides", nargs="*")

    def build(argv: Call) -> Any:
        args = parser.parse_args(argv)
        short = [path for path in recipes.folders() if (path / f"{args.config_name}.yaml").exists()]
        overrides = []
        for override in OverridesParser.create().parse_overrides(args.overrides):
            sweep = override.is_sweep_override()
            assert args.m or not sweep, f"{override.input_line} is for a multirun"
            value = next(iter(override.sweep_string_iterator())) if sweep else None
            key = override.get_key_element()
            overrides.append(f"{key}={value}" if sweep else override.input_line)
        with initialize_config_dir(str(short[0]), version_base="1.2"):
            return compose_recipe(args.config_name, overrides)

    yield build


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_one_that_is_tried_or_left_alone_for_a_reason(
    document: str, sandbox: Path
) -> None:
    """Those that a rule below takes; `make TARGET` has its target."""
    program = [str(Path(sys.executable).with_name("solo-rekd")), "--help"]
    usage = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    calls = read_calls(document, sandbox)
    assert bool(calls) == bool(blocks(document))
    for call in calls:
        if call[0] == "make":
            assert call[1] in targets, call
        known = is_left_alone(call) or is_script_of_main(call) or is_script_of_ours(call)
        known = known or call[0] == "srun"
        ours = call[0] == "solo-rekd"
        known = known or (ours and (call[1] in re.findall(r"\w+", usage) or is_coming(call[1:])))
        assert known, f"{document}: no rule takes {' '.join(call)}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_comparison_is_accepted_up_to_its_first_run(
    document: str, sandbox: Path, command: Callable[[Call], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    from solo_rekd.compare import main

    def stop(out: Path, work: str) -> None:
        raise Started

    monkeypatch.setattr(main, "locked", stop)
    # the machine on which the documents are tried has no SLURM
    monkeypatch.setattr(main, "refuse_launcher", lambda name, parameters: None)
    for call in read_calls(document, sandbox):
        if starts(call, "solo-rekd", "compare"):
            with pytest.raises(Started):
                command(call)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_distillation_is_asked_for(
    document: str, sandbox: Path, command: Callable[[Call], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo_rekd.distilling import run

    def stop(request: Any) -> None:
        raise Started

    monkeypatch.setattr(run, "run", stop)
    for call in read_calls(document, sandbox):
        if starts(call, "solo-rekd", "distil"):
            with pytest.raises(Started):
                command(call)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_photos_are_embedded(document: str, sandbox: Path, command: Callable[[Call], None]) -> None:
    for call in read_calls(document, sandbox):
        if starts(call, "solo-rekd", "embed"):
            command(call)
            assert (sandbox / call[4]).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_student_is_exported(
    document: str, sandbox: Path, command: Callable[[Call], None]
) -> None:
    for call in read_calls(document, sandbox):
        if starts(call, "solo-rekd", "export"):
            command(call)
            assert (sandbox / call[3]).stat().st_size > 0


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_script_of_ours_takes_its_arguments(
    document: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take minutes, or weights that are not here; their own tests are elsewhere."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parse(parser, *args, **kwargs)
        raise Started

    monkeypatch.chdir(sandbox)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    for call in read_calls(document, sandbox):
        if is_script_of_ours(call):
            monkeypatch.setattr(sys, "argv", call[1:])
            with pytest.raises(Started):
                runpy.run_path(str(ROOT / call[1]), run_name="__main__")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_recipe_of_the_main_branch_is_composed(
    document: str, sandbox: Path, compose: Callable[[Call], Any]
) -> None:
    for call in read_calls(document, sandbox):
        if call[0] == "srun":
            call = call[next(place for place, word in enumerate(call) if word == "python") :]
        if not is_script_of_main(call) or call[1] == "main_knn.py":  # which has flags of its own
            continue
        if "--config-path" in call:  # of a checkout with the pull request laid over it
            folder, name = call[call.index("--config-path") + 1], call[-1]
            assert (ROOT / "upstream" / folder / name).exists()
            continue
        cfg = compose(call[2:])
        assert cfg.data.train_path is None or (sandbox / cfg.data.train_path).is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [pytest.param(each, marks=[pytest.mark.trial] * (each != "README.md")) for each in DOCUMENTS],
)
def test_trainings_and_evaluations_run(document: str, sandbox: Path) -> None:
    """Those of the recipes too, which bash has run up to here."""
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    tiny = {"pretrain": TINY, "linear": TINY_LINEAR, "knn": []}
    for call in read_calls(document, sandbox):
        if call[0] != "solo-rekd" or call[1] not in tiny:
            continue
        if "--dali" in call:  # recipes at ImageNet's size: tests/test_recipes.py builds them
            continue
        done = subprocess.run(
            [str(Path(sys.executable).with_name("solo-rekd")), *call[1:], *tiny[call[1]]],
            cwd=sandbox,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, f"{document}: {' '.join(call)}: {done.stderr[-2000:]}"


@pytest.mark.trial
def test_the_comparison_of_the_readme_runs(
    sandbox: Path, command: Callable[[Call], None], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    calls = read_calls("README.md", sandbox)
    (call,) = [call for call in calls if starts(call, "solo-rekd", "compare")]
    command([*call, *TINY_COMPARISON])
    assert (sandbox / "runs" / "mine" / "report.html").exists()
    assert "byol" in capsys.readouterr().out


# appends to a line of Hydra's what makes it one of seconds, and runs it for real
REAL = """#!/bin/sh
script=$1
shift
case $script in
    main_pretrain.py) set -- "$@" max_epochs=1 scheduler.warmup_epochs=0 optimizer.batch_size=8 \\
        method_kwargs.queue_size=128 +limit_train_batches=2 +limit_val_batches=1 crop_size=32 \\
        data.num_workers=0 method_kwargs.teacher=timm:resnet10t ;;
    main_linear.py) set -- "$@" max_epochs=1 optimizer.batch_size=8 data.num_workers=0 ;;
esac
exec {python} {home}/"$script" "$@"
"""


@pytest.mark.slow
@pytest.mark.current_host
@pytest.mark.skipif(
    HOME is None, reason="SOLO_LEARN_HOME names no checkout of solo-learn's main branch"
)
def test_the_readme_trains_and_evaluates_on_the_main_branch(sandbox: Path, tmp_path: Path) -> None:
    (block,) = [text for text in blocks("README.md") if "main_pretrain.py" in text]
    (tmp_path / "DATA").symlink_to(sandbox / "DATA")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python"
    program.write_text(REAL.format(python=sys.executable, home=HOME))
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{block}"],
        env=os.environ
        | {"PYTHONPATH": str(HOME), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "linear top-1" in done.stdout
    assert "Result: acc@1=" in done.stdout
