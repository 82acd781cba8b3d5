"""No process of a training waits for ever for one that is lost."""

import signal
from pathlib import Path

import pytest
from lost_processes import lose

from solo_rekd.utils.patience import PATIENCE

KILLED, STOPPED = signal.SIGKILL, signal.SIGSTOP


@pytest.mark.parametrize(
    ("victim", "how"),
    [
        (0, KILLED),
        pytest.param(2, KILLED, marks=pytest.mark.slow),
        pytest.param(0, STOPPED, marks=pytest.mark.slow),
        pytest.param(2, STOPPED, marks=pytest.mark.slow),
    ],
)
def test_a_lost_process_ends_all(victim: int, how: signal.Signals, tmp_path: Path) -> None:
    codes, seconds = lose(tmp_path, victim, how)
    assert codes[victim] == -KILLED  # a stopped one is killed
    others = [code for rank, code in enumerate(codes) if rank != victim]
    assert others == [1, 1]
    assert seconds < 20
    said = "".join((tmp_path / f"{rank}.err").read_text() for rank in range(3) if rank != victim)
    if how == STOPPED:
        assert f"process {victim} of the training has been lost" in said


@pytest.mark.trial
def test_within_a_minute_by_the_patience_that_users_have(tmp_path: Path) -> None:
    codes, seconds = lose(tmp_path, 2, STOPPED, patience=PATIENCE)
    assert codes == [1, 1, -KILLED]
    assert PATIENCE - 5 < seconds < 60


def test_an_error_of_one_ends_all_though_the_first_is_at_work(tmp_path: Path) -> None:
    codes, seconds = lose(tmp_path, 2, None, fault="user")
    assert codes == [2, 2, 1]
    assert seconds < 20
    assert "solo-rekd: error: process 2: a=1" in (tmp_path / "0.err").read_text()


@pytest.mark.slow
def test_honest_work_outlasts_any_patience(tmp_path: Path) -> None:
    codes, seconds = lose(tmp_path, 0, None, patience=1.5, processes=2, seconds=5)
    assert codes == [0, 0]
    assert seconds > 3
