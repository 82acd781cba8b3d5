from typing import Any

import pytest
from command import command

from solo_rekd.backbones import STUDENTS, TEACHERS
from solo_rekd.checkpoints import FORMATS
from solo_rekd.config import PRESET_NAMES


def test_names_that_the_flags_accept(capsys: pytest.CaptureFixture[str]) -> None:
    command("list")
    shown = capsys.readouterr().out
    for name in ("rekd", *STUDENTS, *TEACHERS, *(entry.name for entry in FORMATS)):
        assert name in shown
    assert "list --host" in shown
    for name in PRESET_NAMES:
        assert f"  {name} " in shown
    assert "own_weight=1.0" in shown


def test_methods_of_a_host_with_their_settings(
    stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command("list", "--host", "classic")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["byol", "pred_hidden_dim,", "base_tau_momentum"]
