from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from solo_rekd.distilling import signal
from solo_rekd.distilling.signal import findings, signal_of


class Index(list):
    folder = Path("held-out")


def test_few_photos_have_fewer_neighbours_or_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal.jobs, "Signal", SimpleNamespace, raising=False)
    asked: Any = signal_of(Index("abcdefg"))["signal"]  # type: ignore[arg-type]
    assert (asked.images, asked.k) == ("held-out", 2) and asked.number > asked.k
    assert signal_of(Index("ab")) == {}  # type: ignore[arg-type]


def test_a_history_without_a_signal_has_no_findings() -> None:
    line = {"epoch": 0, "seconds": 1.0, "images": 8, "waiting": 0.1}
    assert findings([line]) == []
    assert findings([]) == []
