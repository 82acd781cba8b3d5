from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import check_nothing_is_left

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")


@pytest.mark.parametrize("name", ["pretrain", "linear"])
def test_nothing_is_left(
    name: str,
    ready: Path,
    solo: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_nothing_is_left(name, ready, tmp_path / "run", solo, monkeypatch)
