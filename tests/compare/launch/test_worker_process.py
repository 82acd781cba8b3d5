import os
import subprocess

import pytest

from solo_rekd.compare.launch.worker_process import WORKER, failure, threads


@pytest.mark.slow
def test_a_worker_takes_no_module_from_the_current_folder(tmp_path):
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')")
    words = [*WORKER, ".", str(os.getpid())]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert "job.json" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (1, "one\nValueError: two\n\n", "ValueError: two"),
        (1, "step 1\rstep 2\r  ", "step 2"),
        (3, "", "exit code 3, without any output"),
        (3, None, "exit code 3, without any output"),
        (-9, "one\n", "killed by SIGKILL"),
        (-40, "", "killed by signal 40"),
    ],
)
def test_the_reason_of_a_failure(code, log, reason, tmp_path):
    if log is not None:
        (tmp_path / "log.txt").write_bytes(log.encode())
    assert failure(code, tmp_path / "log.txt") == reason


def test_threads_are_shared(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [threads(jobs) for jobs in (1, 3, 16)] == [8, 2, 1]
