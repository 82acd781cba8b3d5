"""Every mistake of `tests/support/mistakes.yaml`, with main; its unedited scripts beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistakes import ERROR, check, contents, of_host
from odd_images import check_no_mistake

from solo_rekd.images import files

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

Solo = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", of_host("main"))
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
    mistake: Any, ready: Path, solo: Solo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, "main", ready, solo, tmp_path / "run", monkeypatch)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.train_path": "nowhere"}, "data.train_path='nowhere' is not allowed: expected a"),
        ({"method_kwargs.temperature": ".nan"}, "temperature="),
    ],
)
def test_a_script_of_the_host_tells_a_mistake_in_one_line(
    changes: dict[str, str],
    said: str,
    tmp_path: Path,
    arguments: Callable[..., list[str]],
    run_script: Callable[..., str],
) -> None:
    before = contents(tmp_path)
    last = run_script("main_pretrain.py", *arguments("rekd", **changes), code=2).splitlines()[-1]
    assert last.startswith(ERROR) and said in last
    assert contents(tmp_path) == before
