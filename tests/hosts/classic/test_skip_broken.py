from collections.abc import Callable
from pathlib import Path

import pytest
from broken_images import break_images, check_all

from solo_rekd.images import files

Solo = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_broken_images_are_left_out_of_everything(
    solo: Solo,
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(files, "_reported", set())
    break_images(ready, tmp_path / "run", monkeypatch)
    check_all(tmp_path / "run", solo, caplog)
