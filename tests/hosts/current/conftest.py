"""What the tests of the current host share: its recipes composed for tiny runs, and its scripts.

They run where the package `solo` is a checkout of solo-learn's main branch: `make test
SOLO_LEARN_HOME=DIR`.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from warm import Warm

TINY = {
    "crop_size": 32,
    "backbone.name": "alexnet",
    "optimizer.batch_size": 8,
    "data.num_workers": 0,
    "max_epochs": 1,
}
PRETRAIN = TINY | {
    "optimizer.lr": 0.1,
    "scheduler.warmup_epochs": 0,
    "method_kwargs.queue_size": 24,
    "method_kwargs.proj_hidden_dim": 16,
    "method_kwargs.proj_output_dim": 8,
}
# the recipes' own, a ResNet-50, takes a minute where this takes seconds
SMALL_TEACHER = {"method_kwargs.teacher": "timm:resnet10t"}
# 48 images fill a queue of 24 in three steps of six, so the relation trains in the other three
REKD = {
    "method_kwargs.num_prototypes": 4,
    "method_kwargs.teacher_warmup_epochs": 0,
}
LINEAR = {name: value for name, value in TINY.items() if name != "crop_size"}


def overrides(recipe: str, data: Path, changes: dict[str, Any]) -> list[str]:
    """Hydra's command line for a tiny run of a recipe; None removes a key."""
    from solo_rekd.objectives import OBJECTIVES

    settings: dict[str, Any] = {"data.train_path": data / "train", "data.val_path": data / "val"}
    settings |= LINEAR if recipe == "linear" else PRETRAIN
    settings |= SMALL_TEACHER if recipe in OBJECTIVES else {}
    settings |= REKD if recipe == "rekd" else {}
    settings |= changes
    return [f"~{k}" if value is None else f"{k}={value}" for k, value in settings.items()]


@pytest.fixture(scope="session")
def compose(data: Path) -> Iterator[Callable[..., Any]]:
    """Composes a recipe for a tiny run: compose("rekd", **{"method_kwargs.queue_size": 8})."""
    from hydra import compose as compose_recipe
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from solo_rekd import hosts
    from solo_rekd.hosts.current import recipes

    hosts.activate()
    recipes.store_defaults()

    def build(recipe: str, **changes: Any) -> Any:
        folder = recipes.folders()[recipe == "linear"]
        with initialize_config_dir(str(folder), version_base="1.2"):
            cfg = compose_recipe(recipe, overrides(recipe, data, changes))
        OmegaConf.set_struct(cfg, False)  # as the host's scripts do
        return cfg

    yield build


@pytest.fixture
def arguments(data: Path) -> Callable[..., list[str]]:
    """The command line of a tiny run: arguments("rekd", max_epochs=2)."""

    def build(recipe: str, **changes: Any) -> list[str]:
        return ["--config-name", recipe, *overrides(recipe, data, changes)]

    return build


@pytest.fixture(scope="session")
def pretraining(compose: Callable[..., Any]) -> Callable[..., Any]:
    """Builds the method of a tiny run as `main_pretrain.py` does, on the configuration given."""
    from solo.args.pretrain import parse_cfg
    from solo.methods import METHODS

    def build(recipe: str, **changes: Any) -> Any:
        cfg = parse_cfg(compose(recipe, **changes))
        return METHODS[cfg.method](cfg)

    return build


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The adapter, in a folder of its own; the other tests' runs are not claimed."""
    import solo.methods

    from solo_rekd.hosts.current.host import connect
    from solo_rekd.hosts.shared import ownership

    monkeypatch.setattr(ownership, "_claimed", False)
    monkeypatch.chdir(tmp_path)
    return connect(Path(solo.methods.__file__).parents[2])


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Runs scripts; most of the libraries are loaded once for all tests."""
    started = Warm()
    yield started
    started.close()


@pytest.fixture
def run_script(data: Path, tmp_path: Path, warm: Warm) -> Callable[..., str]:
    """Runs an unmodified script of the host in a folder of its own, and returns what it printed.

    Without the start-up hook, `hook=False`, only Hydra can find the plug-in.
    """
    import solo.methods

    home = Path(solo.methods.__file__).parents[2]

    def run(script: str, *argv: str, code: int = 0, hook: bool = True, autoload: str = "1") -> str:
        env = os.environ | {"SOLO_REKD_AUTOLOAD": autoload}
        if autoload == "1" and env.get("PYTHONPATH") == warm.path:
            done = warm.run(home / script, [*argv], env, tmp_path, 300, hook)
        else:  # both are read when Python starts
            done = subprocess.run(
                [sys.executable, str(home / script), *argv],
                env=env,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=300,
            )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run
