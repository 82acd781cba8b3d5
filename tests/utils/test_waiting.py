"""A process that waits for a lock goes on when its holder gives no sign of life."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from solo_rekd.utils import locks


def hold(path: Path) -> None:
    locks.BEAT = 0.2  # type: ignore[attr-defined]
    with locks.alone(path, "works"):
        path.with_name("held").touch()
        time.sleep(600)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_holder_is_not_waited_for(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 1.0)
    monkeypatch.setattr(locks, "BEAT", 0.2)
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "lock",))
    holder.start()
    try:
        while not (tmp_path / "held").exists():
            time.sleep(0.02)
        os.kill(holder.pid or 0, how)
        begun = time.monotonic()
        with locks.alone(tmp_path / "lock", "works"):
            assert time.monotonic() - begun < 10
        gave_up = "gives no sign of life" in caplog.text
        assert gave_up == (how == signal.SIGSTOP)  # the system frees a dead process's lock
    finally:
        holder.kill()
        holder.join()


def test_a_holder_at_work_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.8)
    monkeypatch.setattr(locks, "BEAT", 0.2)
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=hold, args=(tmp_path / "lock",))
    holder.start()
    try:
        while not (tmp_path / "held").exists():
            time.sleep(0.02)
        (tmp_path / "held").unlink()
        waiting = context.Process(target=hold, args=(tmp_path / "lock",))
        waiting.start()
        time.sleep(2.5)
        assert waiting.is_alive()
        assert not (tmp_path / "held").exists()  # it would be there, had the other one given up
        holder.kill()
        waiting.join(0.1)
        end = time.monotonic() + 20
        while not (tmp_path / "held").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        for each in (holder, waiting):
            each.kill()
            each.join()
