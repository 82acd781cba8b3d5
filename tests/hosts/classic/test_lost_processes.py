"""No process of a run waits for ever for one that is lost, on the classic host."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from lost_runs import FAULTS, check_it_ends

pytestmark = pytest.mark.trial


@pytest.mark.parametrize(("fault", "victim", "how"), FAULTS)
def test_a_lost_process_ends_the_run(
    fault: str,
    victim: int,
    how: signal.Signals | None,
    flags: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    check_it_ends(flags, tmp_path, fault, victim, how)
