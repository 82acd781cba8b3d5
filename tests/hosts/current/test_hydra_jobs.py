"""Mistakes in the current host's own scripts: one line, exit code 2, nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

Script = Callable[..., str]
Arguments = Callable[..., list[str]]

pytestmark = pytest.mark.slow


def last_line(shown: str) -> str:
    return shown.replace("\r", "\n").splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"precision": "sixteen"}, ["'sixteen'", "16-mixed"]),
        pytest.param({"strategy": "dpp"}, ["strategy='dpp'", "ddp"], marks=pytest.mark.trial),
        pytest.param(
            {"accelerator": "gpuu"}, ["accelerator='gpuu'", "cpu"], marks=pytest.mark.trial
        ),
        pytest.param(
            {"checkpoint": "null"},
            ["checkpoint=None", "a group of settings"],
            marks=pytest.mark.trial,
        ),
        ({"optimizer.batch_size": 1}, ["batch_size=1", "at least 2", "BatchNorm"]),
    ],
)
def test_what_lightning_refuses_is_one_line(
    changes: dict[str, object],
    parts: list[str],
    run_script: Script,
    arguments: Arguments,
    tmp_path: Path,
) -> None:
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    assert "Traceback" not in shown and "Error executing job" not in shown
    last = last_line(shown)
    assert last.startswith("solo-rekd: error: ")
    assert [part for part in parts if part not in last] == []
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_after_its_bar_began_says_so_on_a_line_of_its_own(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"optimizer.lr": 1e30, "max_epochs": 2}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2)
    assert "Epoch 0" in shown  # the bar
    assert "\nsolo-rekd: error: the training diverged" in shown
    assert not list(tmp_path.iterdir())


def test_the_traceback_is_shown_where_it_is_asked_for(
    run_script: Script, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLO_REKD_TRACEBACK", "1")
    shown = run_script("main_pretrain.py", *arguments("rekd", **{"precision": "x"}), code=2)
    assert "Traceback" in shown and "accelerator_connector" in shown
    assert last_line(shown).startswith("solo-rekd: error: ")


def test_one_job_of_several_does_not_end_the_others(
    run_script: Script, arguments: Arguments, tmp_path: Path
) -> None:
    changes = {"method_kwargs.own_weight": "2,0.5", "hydra.sweep.dir": "sweep"}
    argv = arguments("rekd", **changes, **{"+limit_train_batches": 1, "limit_val_batches": None})
    argv = [word for word in argv if word != "~limit_val_batches"]
    shown = run_script("main_pretrain.py", "-m", *argv, code=2)
    assert "Traceback" not in shown
    assert "\nsolo-rekd: error: own_weight=2.0 is not allowed" in f"\n{shown}"
    assert len(list(tmp_path.glob("trained_models/rekd/*/*.ckpt"))) == 1


def test_a_failure_that_is_not_the_users_keeps_its_traceback(
    run_script: Script, arguments: Arguments
) -> None:
    argv = arguments("mocov2plus", **{"backbone.name": "resnet18", "precision": "sixteen"})
    shown = run_script("main_pretrain.py", *argv, code=1)
    assert "Traceback" in shown and "solo-rekd: error" not in shown
