"""A run of the current host without anything of ours, with the plug-in and where there is none.

Both run the host's unedited scripts on its own recipes, each in a process and a folder of its own.
Where there is none, Python finds every package of this environment but solo-rekd, and reads no
.pth file.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

import solo.methods

pytestmark = pytest.mark.slow

HOME = Path(solo.methods.__file__).parents[2]
RECIPES = HOME / "scripts" / "pretrain" / "cifar"
OURS = ("solo_rekd", "__editable__.solo_rekd", "hydra_plugins")
# on a CPU, one short epoch, without what the recipes want of a cluster
SMALL = {
    "data.dataset": "custom",
    "data.num_workers": 0,
    "optimizer.batch_size": 8,
    "max_epochs": 1,
    "accelerator": "cpu",
    "devices": '"1"',
    "strategy": "auto",
    "precision": "32-true",
    "sync_batchnorm": False,
    "auto_resume.enabled": False,
    "wandb.enabled": False,
    "+enable_progress_bar": False,  # how often it is drawn depends on the time
    "+scheduler.warmup_epochs": 0,
}
HEADS = {"method_kwargs.proj_hidden_dim": 16, "method_kwargs.proj_output_dim": 8}
METHODS = {
    "byol": HEADS | {"method_kwargs.pred_hidden_dim": 16},
    "simclr": HEADS,
    "mae": {
        "backbone.name": "vit_tiny",
        "data.val_path": "null",  # the host validates at 224 px, which this ViT does not take
        "method_kwargs.decoder_embed_dim": 32,
        "method_kwargs.decoder_depth": 1,
        "method_kwargs.decoder_num_heads": 2,
    },
}
LINEAR = {
    "data.format": "image_folder",
    "optimizer.lr": 0.1,
    "pretrain_method": "byol",
}
# main_linear.py seeds nothing; what the plug-in would draw, the run would lack
SEEDED = """
import random, runpy, sys
import numpy, torch
for seed in (random.seed, numpy.random.seed, torch.manual_seed):
    seed(5)
del sys.argv[0]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Outcome:
    """What a run left: its exit code, its streams by line, and its files by name."""

    code: int
    out: list[str]
    err: list[str]
    files: dict[str, Any]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train` and `val` of six classes of noise: the host fails under five."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for name in "abcdef":
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to every installed package but ours."""
    folder = tmp_path_factory.mktemp("packages")
    for place in sys.path:
        if Path(place).name != "site-packages":
            continue
        for entry in Path(place).iterdir():
            link = folder / entry.name
            if not (entry.name.startswith(OURS) or entry.suffix == ".pth" or link.exists()):
                link.symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def launch(packages: Path) -> Callable[..., Outcome]:
    """Runs a script of the host: launch(folder, True, "main_pretrain.py", *argv)."""

    def run(folder: Path, plugin: bool, script: str, *argv: str) -> Outcome:
        folder.mkdir()
        env = os.environ | {"SOLO_REKD_AUTOLOAD": "1", "PYTHONHASHSEED": "0"}
        env |= {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
        start = [sys.executable, "-c", SEEDED]
        if not plugin:  # -S: no site-packages, and none of their .pth files
            start.insert(1, "-S")
            env["PYTHONPATH"] = os.pathsep.join(map(str, (packages, HOME)))
            env["SOLO_REKD_AUTOLOAD"] = "0"
        done = subprocess.run(
            [*start, str(HOME / script), *argv],
            env=env,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        places = [place for place in sys.path if Path(place).name == "site-packages"]
        texts = {str(packages): "SITE", str(folder): "HERE"}
        texts |= dict.fromkeys(places, "SITE")

        def mask(text: str) -> str:
            for found in sorted(texts, key=len, reverse=True):
                text = text.replace(found, texts[found])
            return re.sub(r"0x[0-9a-f]{6,}", "ADDRESS", text)

        files = {
            mask(re.sub(r"tfevents\..*", "tfevents", str(path.relative_to(folder)))): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        contents = {name: read(path, mask) for name, path in files.items()}
        streams = (mask(text).splitlines() for text in (done.stdout, done.stderr))
        return Outcome(done.returncode, *streams, contents)

    return run


def read(path: Path, mask: Callable[[str], str]) -> Any:
    """What a file of a run holds: tensors and values of a checkpoint, figures of a log, or text."""
    if path.suffix == ".ckpt":
        return flatten(torch.load(path, weights_only=True), mask)
    if "tfevents" in path.name:
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = accumulator.EventAccumulator(str(path))
        events.Reload()
        return {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    return mask(path.read_text())


def flatten(value: Any, mask: Callable[[str], str], name: str = "") -> dict[str, Any]:
    """Lists nested values under dotted names, tensors as their bytes."""
    if isinstance(value, Mapping):
        pairs = [flatten(inner, mask, f"{name}.{key}") for key, inner in value.items()]
        return {key: inner for pair in pairs for key, inner in pair.items()}
    if isinstance(value, list | tuple):
        return flatten(dict(enumerate(value)), mask, name)
    if isinstance(value, torch.Tensor):
        return {name: (tuple(value.shape), value.contiguous().numpy().tobytes())}
    return {name: mask(repr(value))}


@pytest.fixture
def both(launch: Callable[..., Outcome], tmp_path: Path) -> Callable[..., tuple[Outcome, Outcome]]:
    """Runs a script with the plug-in and without it."""

    def run(script: str, *argv: str) -> tuple[Outcome, Outcome]:
        with ThreadPoolExecutor(2) as pool:
            ours = pool.submit(launch, tmp_path / "with", True, script, *argv)
            theirs = pool.submit(launch, tmp_path / "without", False, script, *argv)
            return ours.result(), theirs.result()

    return run


def overrides(images: Path, settings: dict[str, Any]) -> list[str]:
    places = {f"data.{split}_path": images / split for split in ("train", "val")}
    return [f"{key}={value}" for key, value in (places | SMALL | settings).items()]


def pretraining(recipe: str, images: Path, changes: dict[str, Any] | None = None) -> list[str]:
    """The command line of a small run on one of the host's own recipes."""
    argv = overrides(images, METHODS[recipe] | (changes or {}))
    return ["--config-path", str(RECIPES), "--config-name", recipe, *argv]


def linear(images: Path, checkpoint: Path) -> list[str]:
    """The command line of a small linear evaluation on one of the host's own recipes."""
    settings = LINEAR | {"pretrained_feature_extractor": f"'{checkpoint}'"}
    folder = HOME / "scripts" / "linear" / "imagenet-100"
    argv = overrides(images, settings)
    return ["--config-path", str(folder), "--config-name", "byol", *argv]


def assert_equal(ours: Outcome, theirs: Outcome) -> None:
    """The same exit code, messages, and files to the last bit; nothing of ours in any of them."""
    assert ours.code == theirs.code, (ours.err, theirs.err)
    assert ours.out == theirs.out
    assert ours.err == theirs.err
    assert ours.files.keys() == theirs.files.keys()
    for name, content in theirs.files.items():
        if isinstance(content, dict):
            different = {key for key in content if ours.files[name].get(key) != content[key]}
            assert not different and ours.files[name].keys() == content.keys(), (name, different)
        else:
            assert ours.files[name] == content, name
    assert not [line for line in (*ours.out, *ours.err) if "rekd" in line.lower()]


@pytest.mark.parametrize("plugin", [True, False])
def test_without_the_plugin_is_really_without(
    plugin: bool, launch: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "look.py").write_text(
        "import importlib.metadata as m, importlib.util as u, sys\n"
        "print(len(m.entry_points(group='lightning.pytorch.callbacks_factory')))\n"
        "print(*(u.find_spec(name) is None for name in ('solo_rekd', 'hydra_plugins')))\n"
        "print(sum('Watcher' in type(finder).__name__ for finder in sys.meta_path))\n"
    )
    found = launch(tmp_path / "run", plugin, str(tmp_path / "look.py"))
    assert found.out == (["1", "False False", "1"] if plugin else ["0", "True True", "0"])


@pytest.mark.parametrize(
    "method",
    [pytest.param(each, marks=[pytest.mark.trial] * (each != "byol")) for each in METHODS],
)
def test_a_pretraining(method: str, both: Callable[..., Any], images: Path) -> None:
    ours, theirs = both("main_pretrain.py", *pretraining(method, images))
    assert_equal(ours, theirs)
    assert ours.code == 0, ours.err
    (weights,) = (content for name, content in ours.files.items() if name.endswith(".ckpt"))
    assert sum(name.startswith(".state_dict.backbone.") for name in weights) > 20
    (log,) = (content for name, content in ours.files.items() if "tfevents" in name)
    assert any("loss" in tag for tag in log)


@pytest.mark.trial
def test_both_evaluations(
    both: Callable[..., Any], launch: Callable[..., Outcome], images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "trained"
    assert launch(run, False, "main_pretrain.py", *pretraining("byol", images)).code == 0
    (checkpoint,) = run.rglob("*.ckpt")
    ours, theirs = both("main_linear.py", *linear(images, checkpoint))
    assert_equal(ours, theirs)
    assert ours.code == 0, ours.err

    argv = ["--dataset", "custom", "--pretrained_checkpoint_dir", str(checkpoint.parent)]
    argv += ["--train_data_path", str(images / "train"), "--val_data_path", str(images / "val")]
    argv += ["--batch_size", "8", "--num_workers", "0", "--k", "2", "--temperature", "0.07"]
    argv += ["--distance_function", "cosine", "--feature_type", "backbone"]
    judged = [launch(tmp_path / f"knn{plugin}", plugin, "main_knn.py", *argv) for plugin in (1, 0)]
    for outcome in judged:  # how fast the bar went
        outcome.err = [re.sub(r"\[.*|\d+%\|.*", "BAR", line) for line in outcome.err]
    assert_equal(*judged)
    assert judged[0].code == (0 if torch.cuda.is_available() else 1)  # the script asks for a GPU


TRIED_ALWAYS = ("a path", "a method")  # one that fails in the host, and one in Hydra
FAILURES = {
    "a scheduler": {"scheduler.name": "cosine"},
    "a path": {"data.train_path": "nowhere"},
    "a rate": {"optimizer.lr": -1},
    "a method": {"method": "byoll"},
    "a device": {"devices": 1},
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(each, id=name, marks=[pytest.mark.trial] * (name not in TRIED_ALWAYS))
        for name, each in FAILURES.items()
    ],
)
def test_a_run_that_fails(changes: dict[str, Any], both: Callable[..., Any], images: Path) -> None:
    ours, theirs = both("main_pretrain.py", *pretraining("byol", images, changes))
    assert_equal(ours, theirs)
    assert ours.code == 1
    assert any("Traceback" in line or "Error" in line for line in ours.err)


@pytest.mark.parametrize("content", ["text", "weights"])
def test_a_wrong_checkpoint(
    content: str, both: Callable[..., Any], images: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "wrong.ckpt"
    if content == "text":
        checkpoint.write_text("none")
    else:  # the host probes random weights
        torch.save({"state_dict": {"backbone.other": torch.zeros(1)}}, checkpoint)
    ours, theirs = both("main_linear.py", *linear(images, checkpoint))
    assert_equal(ours, theirs)
    assert ours.code == (1 if content == "text" else 0), ours.err
