import sys
from pathlib import Path
from typing import Any

import pytest
from command import command

from solo_rekd.distilling import run as module
from solo_rekd.distilling.run import command_of
from solo_rekd.utils.errors import UserError


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks for; nothing is done."""
    found: list[Any] = []
    monkeypatch.setattr(module, "run", found.append)
    return found


def words(request: Any) -> list[str]:
    return command_of(request)[1:]


def test_the_command_asks_for_what_is_typed(asked: Any, asked_for: list[Any]) -> None:
    for changes in (
        {},
        {"epochs": 3, "lr": 0.5, "int8": True, "drawn_views": 0, "workers": 0, "seed": 0},
        {"hours": 0.5, "method": "seed", "settings": {"mixup": 1, "projector": "linear"}},
        {"host_words": ("--wandb", "--project", "photos")},
    ):
        command(*words(asked(**changes)))
        assert asked_for.pop() == asked(**changes)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "mixup"], "NAME=VALUE"),
        (["--epochs", "0"], "--epochs"),
        (["--device", "tpu"], "device='tpu'.*cpu, gpu"),
        (["--hours", "0"], "^hours=0"),
        (["--epoch", "3"], "--epoch"),
    ],
)
def test_a_mistake_is_one_line(
    asked: Any, asked_for: list[Any], more: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        command(*words(asked()), *more)
    assert not asked_for


def test_an_interruption_says_how_to_resume(
    asked: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    def stop(request: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", stop)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").touch()
    with pytest.raises(SystemExit) as stopped:
        command(*words(asked()))
    assert stopped.value.code == 130
    assert "resumes" in capsys.readouterr().out


def test_the_command_line_is_read_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['solo-rekd', 'distil', '--help']\n"
        "from solo_rekd import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
