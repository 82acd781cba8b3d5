"""The host's own scripts, unedited, with nothing but the plug-in installed beside the host."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

HOME = os.environ.get("SOLO_LEARN_CLASSIC_HOME")
Flags = Callable[..., list[str]]
Script = Callable[..., str]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        HOME is None,
        reason="SOLO_LEARN_CLASSIC_HOME names no checkout of solo-learn's commit a829643",
    ),
]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script of the checkout with the installed host, and returns what it printed."""

    def run(name: str, argv: list[str], code: int = 0) -> str:
        # beside the script lies the checkout's own `solo`: the tests are of the installed one
        copy = tmp_path / name
        copy.write_text((Path(HOME or "") / name).read_text())
        done = subprocess.run(
            [sys.executable, copy, *argv],
            env=os.environ | {"OMP_NUM_THREADS": "1", "SOLO_REKD_AUTOLOAD": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def saved(folder: Path) -> Path:
    (checkpoint,) = folder.glob("*/*/*.ckpt")
    return checkpoint


@pytest.mark.parametrize("method", ["rekd", pytest.param("mocov2plus", marks=pytest.mark.trial)])
def test_pretrains_and_evaluates(method: str, script: Script, flags: Flags, tmp_path: Path) -> None:
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path / "runs"}
    script("main_pretrain.py", flags("pretrain", method=method, **kept))
    checkpoint = saved(tmp_path / "runs")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())

    weights = {"pretrained_feature_extractor": checkpoint}
    kept["checkpoint_dir"] = tmp_path / "evaluated"
    shown = script("main_linear.py", flags("linear", **weights, **kept))
    assert f"loaded {checkpoint}" in shown
    evaluated = torch.load(saved(tmp_path / "evaluated"), weights_only=True)["state_dict"]
    names = [name for name in state if name.startswith("encoder.")]
    assert names
    for name in names:
        assert torch.equal(state[name], evaluated[name.replace("encoder.", "backbone.", 1)]), name


@pytest.mark.trial
def test_pretrains_in_two_processes(script: Script, flags: Flags, tmp_path: Path) -> None:
    two = {"devices": 2, "strategy": "ddp", "limit_train_batches": 2, "limit_val_batches": 0}
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path / "runs"}
    script("main_pretrain.py", flags("pretrain", method="rekd", **two, **kept))
    state = torch.load(saved(tmp_path / "runs"), weights_only=True)["state_dict"]
    assert int(state["objective.queues.0.seen"]) == 32


def test_a_users_mistake_is_one_line(script: Script, flags: Flags) -> None:
    shown = script("main_pretrain.py", flags("pretrain", method="rekd", own_weight=2), code=2)
    assert "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("solo-rekd: error: own_weight=2.0 is not allowed")
