"""Hydra's own multirun on the recipes: several runs by one command of the unedited scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

Script = Callable[..., str]
Arguments = Callable[..., list[str]]

pytestmark = pytest.mark.slow


def settings(folder: Path) -> list[dict]:
    """What the checkpoints of all runs say that they were trained with."""
    paths = folder.glob("trained_models/*/*/*.ckpt")
    return [torch.load(path, weights_only=True)["solo_rekd"]["settings"] for path in paths]


def test_every_run_has_a_checkpoint_with_a_record_of_its_own(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"seed": "0,1", "hydra.sweep.dir": "sweep"}
    run_script("main_pretrain.py", "-m", *arguments("rekd", **changes))
    assert sorted(told["seed"] for told in settings(tmp_path)) == [0, 1]


def test_a_mistake_in_one_run_does_not_stop_the_others(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"seed": "0,1", "method_kwargs.own_weight": "2,0.5", "hydra.sweep.dir": "sweep"}
    shown = run_script("main_pretrain.py", "-m", *arguments("rekd", **changes), code=2)
    assert "Traceback" not in shown
    assert shown.count("solo-rekd: error: own_weight=2.0 is not allowed") == 2
    told = settings(tmp_path)
    assert sorted(each["seed"] for each in told) == [0, 1]
    assert {each["method_kwargs"]["own_weight"] for each in told} == {0.5}
