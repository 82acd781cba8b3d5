from pathlib import Path
from typing import Any

import pytest

from solo_rekd.distilling import signal
from solo_rekd.distilling.signal import signal_of, watched
from solo_rekd.hosts.jobs import CSV, TENSORBOARD


class Index(list):
    folder = Path("held-out")


@pytest.mark.parametrize(("number", "k"), [(3, 1), (7, 2), (31, 10), (1000, 10)])
def test_few_photos_have_fewer_neighbours(number: int, k: int) -> None:
    asked: Any = signal_of(Index(range(number)))  # type: ignore[arg-type]
    assert (asked.images, asked.number, asked.k) == ("held-out", number, k)


def test_two_photos_give_no_signal() -> None:
    assert signal_of(Index(range(2))) is None  # type: ignore[arg-type]


def test_logs_are_those_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    index: Any = Index(range(9))
    assert watched(index)["logs"] == (CSV, TENSORBOARD)
    monkeypatch.setattr(signal, "is_installed", lambda package: False)
    assert watched(index)["logs"] == (CSV,)
