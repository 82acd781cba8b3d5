"""What `upstream/` would add to solo-learn's main branch: the plug-in's mathematics and defaults,
and the command that lays it over a checkout. The tests of the laid checkout itself run where
SOLO_LEARN_HOME names one.
"""

import ast
import dataclasses
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch.nn.functional import normalize

from solo_rekd.config import RekdConfig
from solo_rekd.lengths import Training, queue_size
from solo_rekd.losses import relation_contrast_loss

UPSTREAM = Path(__file__).parent.parent / "upstream"
HOME = os.environ.get("SOLO_LEARN_HOME") or None
needs_checkout = pytest.mark.skipif(
    HOME is None, reason="SOLO_LEARN_HOME names no checkout of solo-learn's main branch"
)
# What the plug-in has beyond the upstream method, and the upstream method beyond the plug-in.
ONLY_HERE = {
    *("teacher_mode", "teacher_checkpoint", "teacher_stem"),
    *("teacher_mean", "teacher_std", "teacher_size"),
    *("relation", "assignment_temperature", "teacher_view"),  # controls, and variants without gain
    *("relation_view", "relation_temperature", "relation_refresh", "relation_schedule"),
    *("prototype_levels", "teacher_lr", "teacher_frozen"),
    *("teacher_image_views", "teacher_cache", "teacher_probe", "teacher_precision"),
    *("mixup", "projector", "drawn_views"),
}
ONLY_UPSTREAM = {"teacher": {}, "teacher.kwargs": {}}


def load(path: Path) -> ModuleType:
    """Imports a file by its path."""
    spec = importlib.util.spec_from_file_location(f"upstream_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, relative imports left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


# ---- the files ----


def test_upstream_stands_alone() -> None:
    sources = sorted(UPSTREAM.rglob("*.py"))
    assert len(sources) >= 6
    for path in sources:
        assert "solo_rekd" not in imported(path), path
    assert imported(UPSTREAM / "solo/losses/rekd.py") == {"torch", "typing"}
    assert imported(UPSTREAM / "lay.py") <= set(sys.stdlib_module_names)


def test_files_for_the_host_have_its_header() -> None:
    for path in [*UPSTREAM.glob("solo/**/*.py"), *UPSTREAM.glob("tests/**/*.py")]:
        assert path.read_text().startswith("# Copyright 2023 solo-learn development team.\n"), path


# ---- the loss ----


def random_case(seed: int) -> dict[str, torch.Tensor]:
    """A batch and a queue with unassigned entries and empty prototypes, in float64."""
    g = torch.Generator().manual_seed(seed)
    batch, entries, dim = 7, 40, 6

    def unit(number: int) -> torch.Tensor:
        return normalize(torch.randn(number, dim, generator=g, dtype=torch.float64), dim=1)

    def ids(number: int, high: int) -> torch.Tensor:
        return torch.randint(-1, high, (number,), generator=g)

    return {
        "query": unit(batch).requires_grad_(),
        "positive": unit(batch),
        "queue": unit(entries),
        "query_ids": ids(batch, 12),
        # the last five of 12 prototypes have no entry; one case has none assigned at all
        "queue_ids": ids(entries, 7 if seed else 0),
    }


@pytest.mark.parametrize("own_weight", [0, 0.5, 1, "uniform"])
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_the_plug_ins(seed: int, own_weight: float | str) -> None:
    rekd_loss_func = load(UPSTREAM / "solo/losses/rekd.py").rekd_loss_func
    case = random_case(seed)
    settings: dict[str, Any] = {
        "num_prototypes": 12,
        "temperature": 0.07 + 0.1 * seed,
        "own_weight": own_weight,
    }
    here = relation_contrast_loss(**case, **settings)
    key, queue = case.pop("positive"), case.pop("queue")
    there = rekd_loss_func(**case, key=key, queue=queue.T, **settings)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(there, here, **close)
    gradients = [torch.autograd.grad(loss, case["query"])[0] for loss in (there, here)]
    torch.testing.assert_close(*gradients, **close)


# ---- the settings ----


def upstream_defaults() -> dict[str, Any]:
    """The defaults of the upstream method: what it gives `omegaconf_select` for `method_kwargs`."""
    found = {}
    for node in ast.walk(ast.parse((UPSTREAM / "solo/methods/rekd.py").read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "omegaconf_select":
            _, key, default = (ast.unparse(argument) for argument in node.args)
            found[ast.literal_eval(key).removeprefix("method_kwargs.")] = ast.literal_eval(default)
    return found


def plug_in_defaults() -> dict[str, Any]:
    """The plug-in's defaults under the names that the upstream method gives them."""
    # what follows from the data is that of ImageNet
    imagenet = Training(images=1_281_167, batch=256, steps=5_004, epochs=200)
    config = RekdConfig().settled(imagenet.epochs, queue_size(imagenet))
    settings = dataclasses.asdict(config)
    settings["teacher.name"] = settings.pop("teacher")
    return {name: value for name, value in settings.items() if name not in ONLY_HERE}


def test_the_defaults_are_the_plug_ins() -> None:
    assert upstream_defaults() == plug_in_defaults() | ONLY_UPSTREAM


def test_the_losses_defaults_are_the_methods() -> None:
    rekd_loss_func = load(UPSTREAM / "solo/losses/rekd.py").rekd_loss_func
    parameters = inspect.signature(rekd_loss_func).parameters
    for name in ("temperature", "own_weight"):
        assert parameters[name].default == upstream_defaults()[name]


@pytest.mark.parametrize("folder", ["cifar", "custom", "imagenet", "imagenet-100"])
def test_recipes_say_the_defaults(folder: str) -> None:
    recipe = yaml.safe_load((UPSTREAM / f"scripts/pretrain/{folder}/rekd.yaml").read_text())
    settings = recipe["method_kwargs"]
    settings["teacher.name"] = settings.pop("teacher")["name"]
    size = settings["queue_size"]
    assert settings == plug_in_defaults() | {"queue_size": size}
    assert size % (recipe["optimizer"]["batch_size"] * len(recipe["devices"])) == 0
    assert recipe["backbone"]["name"] == "resnet18"


# ---- the command ----


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path, left out what running Python leaves behind."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def lay(checkout: Path | str) -> subprocess.CompletedProcess[str]:
    """Runs the command as make does."""
    argv = [sys.executable, "-I", str(UPSTREAM / "lay.py"), str(checkout)]
    return subprocess.run(argv, capture_output=True, text=True)


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """A folder that looks like a checkout: what the command needs, with a list in each file."""
    command, root = load(UPSTREAM / "lay.py"), tmp_path / "host"
    for name in command.NEEDED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if "." in Path(name).name:
            (root / name).touch()
        else:
            (root / name).mkdir(exist_ok=True)
    for line in command.LINES:
        path = root / line.file
        path.parent.mkdir(parents=True, exist_ok=True)
        ours = line.text.replace("ReKD", "rekd")
        with path.open("a") as file:
            for name in ("nnclr", "ressl", "all4one"):
                file.write(ours.replace("rekd", name) + "\n")
            file.write("something else\n")
    return root


def test_lays_the_files_and_sorts_the_lines_into_place(miniature: Path) -> None:
    done = lay(miniature)
    assert done.returncode == 0, done.stderr
    laid = tree(miniature)
    for path in UPSTREAM.glob("*/**/*"):
        if path.is_file() and path.suffix != ".pyc":
            assert laid[str(path.relative_to(UPSTREAM))] == path.read_bytes()
    methods = (miniature / "solo/methods/__init__.py").read_text().splitlines()
    assert methods[:4] == [
        "from solo.methods.nnclr import nnclr",
        "from solo.methods.rekd import ReKD",
        "from solo.methods.ressl import ressl",
        "from solo.methods.all4one import all4one",
    ]
    assert methods.count('    "rekd": ReKD,') == methods.count('    "ReKD",') == 1
    assert (
        "* [ReKD](https://arxiv.org/abs/2112.04174)\n* [ressl]"
        in (miniature / "README.md").read_text()
    )


def test_a_second_run_changes_nothing(miniature: Path) -> None:
    lay(miniature)
    before = tree(miniature)
    done = lay(miniature)
    assert (done.returncode, done.stdout) == (0, "nothing to change\n")
    assert tree(miniature) == before


@pytest.mark.parametrize(
    "missing", ["solo/args/pretrain.py", "README.md", "scripts/pretrain/imagenet/augmentations"]
)
def test_refuses_a_folder_that_is_no_checkout(miniature: Path, missing: str) -> None:
    (miniature / missing).rename(miniature / "elsewhere")
    before = tree(miniature)
    done = lay(miniature)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"upstream: error: {miniature} is not a checkout of solo-learn's main branch: "
        f"{missing} is missing\n"
    )
    assert tree(miniature) == before


def test_refuses_a_file_without_the_list_and_writes_nothing(miniature: Path) -> None:
    (miniature / "docs/source/index.rst").write_text("moved\n")
    before = tree(miniature)
    done = lay(miniature)
    assert done.returncode == 2
    assert "docs/source/index.rst has no line like 'solo/methods/rekd'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert tree(miniature) == before


@pytest.mark.parametrize("checkout", ["", "no/such/folder"])
def test_refuses_what_is_no_folder(checkout: str) -> None:
    done = lay(checkout)
    assert done.returncode == 2
    assert len((done.stdout + done.stderr).splitlines()) == 1


# ---- the laid checkout ----


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with ReKD laid over it."""
    copy = tmp_path_factory.mktemp("laid") / "solo-learn"
    shutil.copytree(
        str(HOME), copy, ignore=shutil.ignore_patterns(".git", "__pycache__", "lightning_logs")
    )
    done = lay(copy)
    assert done.returncode == 0, done.stderr
    return copy


@pytest.fixture
def run(laid: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs Python on the laid checkout, the plug-in not active, and returns what it printed."""

    def python(*argv: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            [sys.executable, *argv],
            env=os.environ
            | {"PYTHONPATH": str(laid), "SOLO_REKD_AUTOLOAD": "0", "OMP_NUM_THREADS": "1"},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


@needs_checkout
@pytest.mark.current_host
def test_laying_a_checkout_twice_changes_nothing(laid: Path) -> None:
    before = tree(laid)
    assert lay(laid).stdout == "nothing to change\n"
    assert tree(laid) == before
    theirs = tree(Path(str(HOME)))
    grown = {name for name in before if name in theirs and before[name] != theirs[name]}
    assert grown == {line.file for line in load(UPSTREAM / "lay.py").LINES}
    for name in grown:  # lines are added, none is changed
        added = set(before[name].splitlines()) - set(theirs[name].splitlines())
        assert all(b"rekd" in line.lower() for line in added)
        assert len(before[name]) > len(theirs[name])


@needs_checkout
@pytest.mark.current_host
@pytest.mark.slow
def test_the_host_knows_the_method(run: Callable[..., str], laid: Path) -> None:
    shown = run(
        "-c",
        "import inspect, solo.losses, solo.methods as m; assert 'ReKD' in m.__all__;"
        "assert 'rekd_loss_func' in solo.losses.__all__; print(inspect.getfile(m.METHODS['rekd']))",
    )
    assert Path(shown.splitlines()[-1]) == laid / "solo/methods/rekd.py"


# The same student, teacher, queues and images in both, in float64. Three batches of four fill a
# queue of 12; a prototype that 12 images in a row, three steps, passed by is seeded anew.
AGREEMENT = """
import copy, json, sys, torch
from omegaconf import OmegaConf
from solo.methods import METHODS
from solo_rekd.config import RekdConfig
from solo_rekd.objectives import Batch, HostRun, ReKD

def build(changes):
    torch.manual_seed(0)
    settings = {"proj_hidden_dim": 32, "proj_output_dim": 8, "queue_size": 12, "num_prototypes": 6,
                "teacher_warmup_epochs": 0, "temperature": 0.3, **changes}
    teacher = {"teacher": {"name": "resnet18"}}
    crops = {"num_large_crops": 2, "num_small_crops": 0}
    optimizer = {"name": "sgd", "batch_size": 4, "lr": 0.1, "weight_decay": 0, "classifier_lr": 0.1}
    there = METHODS["rekd"](OmegaConf.create({
        "method": "rekd", "backbone": {"name": "resnet18"}, "momentum": {}, "max_epochs": 1,
        "data": {"dataset": "custom", "num_classes": 10, **crops}, "optimizer": optimizer,
        "scheduler": {"name": "none"}, "method_kwargs": {**settings, **teacher},
    }))
    run = HostRun(there.features_dim, 10, 32, 1)
    here = ReKD(RekdConfig(teacher="resnet18", **settings), run)

    # the backbones are not what is compared: smaller ones of the same width are faster
    def small():
        linear = torch.nn.Linear(3 * 8 * 8, there.features_dim)
        return torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.Tanh())

    there.backbone, there.momentum_backbone = small(), small()
    there.teacher[0], there.momentum_teacher[0] = small(), small()
    there.double()
    here.projector = copy.deepcopy(there.projector)
    here.momentum_projector = copy.deepcopy(there.momentum_projector)
    here.teacher.backbone = copy.deepcopy(there.teacher[0])
    here.teacher.projector = copy.deepcopy(there.teacher[1:])
    here.teacher.momentum_backbone = copy.deepcopy(there.momentum_teacher[0])
    here.teacher.momentum_projector = copy.deepcopy(there.momentum_teacher[1:])
    here.double()
    for view, queue in enumerate(here.queues):
        queue["student"].copy_(there.queue[view].T)
        queue["teacher"].copy_(there.teacher_queue[view].T)
    return there, here

def gradients(loss, *networks):
    return torch.autograd.grad(loss, [p for network in networks for p in network.parameters()])

def compare(changes):
    there, here = build(changes)
    logs, draws = {}, []
    found = {"gaps": [], "losses": [], "relation": [], "draws": []}
    there.log_dict = lambda metrics, **kwargs: logs.update(metrics)
    draw = there.prototypes._draw
    there.prototypes._draw = lambda *args, **kwargs: draws.append(1) or draw(*args, **kwargs)
    for step in range(30):
        images = [torch.randn(4, 3, 8, 8).double() + torch.randn(3, 8, 8).double() for _ in "12"]
        labels = torch.arange(4)
        features = [there.backbone(x) for x in images]
        keys = [there.momentum_backbone(x) for x in images]
        ours, parts = here(Batch(images, features, keys, labels, labels), epoch=0)
        ours = ours - parts["teacher_class_loss"]
        theirs = there.training_step([torch.arange(4), images, labels], step)
        theirs = theirs - logs["train_class_loss"]

        networks = here.projector, here.teacher.backbone, here.teacher.projector
        same = [(ours, theirs)]
        same += zip(gradients(ours, *networks), gradients(theirs, there.projector, there.teacher))
        for view, queue in enumerate(here.queues):
            same += [(queue["student"], there.queue[view].T),
                     (queue["teacher"], there.teacher_queue[view].T),
                     (queue["ids"], there.queue_ids)]
        same += [(here.bank.prototypes, there.prototypes.prototypes),
                 (here.bank.idle, there.prototypes.idle)]
        found["gaps"].append(max(float((a - b).abs().max()) for a, b in same))
        found["losses"].append(float(ours))
        found["relation"].append("train_relation_loss" in logs)
        found["draws"].append(len(draws))
    return found

print(json.dumps([compare(changes) for changes in json.loads(sys.argv[1])]))
"""
SETTINGS = [
    {"dictionary": "both", "own_weight": 0.5, "relation_weight": 1.0},
    {"dictionary": "student", "own_weight": "uniform", "relation_weight": 0.7},
    {"dictionary": "teacher", "own_weight": 0.9, "relation_weight": 0.7},
]


@needs_checkout
@pytest.mark.current_host
@pytest.mark.slow
def test_training_steps_are_the_plug_ins(run: Callable[..., str]) -> None:
    runs = json.loads(run("-c", AGREEMENT, json.dumps(SETTINGS)).splitlines()[-1])
    for settings, steps in zip(SETTINGS, runs, strict=True):
        # losses, gradients, queues, prototypes
        assert max(steps["gaps"]) < 1e-10, settings
        assert steps["relation"] == [False] * 3 + [True] * 27
        # prototypes were seeded at the start and, at least once, anew
        assert steps["draws"][:3] == [0] * 3
        assert steps["draws"][-1] > steps["draws"][3] >= 6
    assert len({steps["losses"][-1] for steps in runs}) == len(SETTINGS)


# Two processes on a CPU, each with its own images; no buffer is copied from the first to the other.
PROCESSES = """
import sys, torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import OmegaConf
from solo.methods import METHODS

class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 96

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        views = [torch.randn(3, 32, 32, generator=g) for _ in range(2)]
        return index, views, index % 10

class Witness(METHODS["rekd"]):
    def on_train_end(self):
        torch.save(self.state_dict(), f"{sys.argv[1]}/rank{self.global_rank}.pt")

torch.manual_seed(0)
crops = {"num_large_crops": 2, "num_small_crops": 0}
optimizer = {"name": "sgd", "batch_size": 4, "lr": 0.1, "weight_decay": 0, "classifier_lr": 0.1}
model = Witness(OmegaConf.create({
    "method": "rekd", "backbone": {"name": "resnet18"}, "momentum": {}, "max_epochs": 1,
    "data": {"dataset": "custom", "num_classes": 10, **crops}, "optimizer": optimizer,
    "scheduler": {"name": "none"},
    "method_kwargs": {"proj_hidden_dim": 32, "proj_output_dim": 8, "queue_size": 24,
                      "num_prototypes": 6, "teacher_warmup_epochs": 0,
                      "teacher": {"name": "resnet18"}},
}))
Trainer(
    accelerator="cpu", devices=2, strategy=DDPStrategy(broadcast_buffers=False), max_epochs=1,
    logger=False, enable_checkpointing=False, enable_progress_bar=False,
).fit(model, torch.utils.data.DataLoader(Images(), batch_size=4, shuffle=True))
"""


@needs_checkout
@pytest.mark.current_host
@pytest.mark.slow
def test_every_process_holds_the_same_queues_and_prototypes(
    run: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "processes.py").write_text(PROCESSES)
    run("processes.py", str(tmp_path))
    one, other = (torch.load(tmp_path / f"rank{n}.pt", weights_only=True) for n in range(2))
    # 12 steps of two batches of four
    assert int(one["prototypes.step"]) == 12 - 3
    assert one["queue_ids"].unique().numel() > 1
    differ = [name for name in one if not torch.equal(one[name], other[name])]
    # each has its own statistics of BatchNorm, for each has its own images
    assert differ and all("running_" in name for name in differ), differ


@needs_checkout
@pytest.mark.current_host
@pytest.mark.slow
def test_its_tests_pass_in_the_host(run: Callable[..., str], laid: Path) -> None:
    files = ["tests/losses/test_rekd.py", "tests/methods/test_rekd.py"]
    shown = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, folder=laid)
    assert " passed" in shown and "skipped" not in shown
