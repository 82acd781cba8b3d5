"""Every mistake of `tests/support/mistakes.yaml`, with the classic host or without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistakes import PAGE, check, of_every_command, of_host, page, read_mistakes
from odd_images import check_no_mistake

from solo_rekd.cli import COMMANDS
from solo_rekd.images import files

Solo = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("mistake", of_host("classic"))
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
    mistake: Any, ready: Path, solo: Solo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, "classic", ready, solo, tmp_path / "run", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", of_every_command("classic"))
def test_the_traceback_of_a_mistake_is_shown_where_it_is_asked_for(
    mistake: Any, ready: Path, solo: Solo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, "classic", ready, solo, tmp_path / "run", monkeypatch, shown=True)


@pytest.mark.slow
def test_what_is_no_mistake(
    ready: Path,
    solo: Solo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(files, "_reported", set())
    check_no_mistake(ready, tmp_path / "run", solo, monkeypatch, caplog)


def test_the_page_has_what_is_said() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "python tests/support/mistakes.py writes the page anew"


def test_there_are_mistakes_of_every_command() -> None:
    typed = {mistake.words[0] for mistake in read_mistakes()}
    assert typed >= {*COMMANDS} - {"run"}
    assert len(read_mistakes()) >= 60
