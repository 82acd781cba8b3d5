"""The miner, the queue and a training of every objective on a device that is not the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.trial
def test_the_numerical_tests_pass_on_the_stand_in_for_a_gpu() -> None:
    # a process of its own: torch learns of a device once, and for good
    chosen = [TESTS / "modules", TESTS / "objectives" / "test_watch.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, chosen)],
        env=os.environ | {"SOLO_REKD_TEST_DEVICE": "stand_in"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
