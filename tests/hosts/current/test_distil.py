"""A distillation on the main branch, from photos to what is deployed."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

HERE = Path(__file__).parents[2] / "distilling"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"distilling_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = load("conftest")
photos, teacher_file, asked = shared.photos, shared.teacher_file, shared.asked


@pytest.mark.trial
def test_a_run_of_the_current_host(
    asked: Any, tmp_path: Path, caplog: Any, capsys: Any, host: Any
) -> None:
    load("test_run").check_run(asked, tmp_path, caplog, capsys, str(host.root))
