import json
import os
import sys
import time

import pytest
import torch

from solo_rekd.compare.launch.processes import Processes

# Stands for the worker: writes its environment, and ends when it may.
WORKER = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "environment.new").write_text(json.dumps(dict(os.environ)))
os.rename(folder / "environment.new", folder / "environment")
while not (folder / "may_end").exists():
    time.sleep(0.01)
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Starts runs side by side on a machine of so many GPUs, and gives what each one sees."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    def run(gpus, jobs, number):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        launcher = Processes(jobs, (sys.executable, "-c", WORKER))
        seen, handles = [], []
        for index in range(number):
            folder = tmp_path / str(index)
            folder.mkdir()
            handles.append(launcher.launch(folder))
            deadline = time.monotonic() + 30
            while not (folder / "environment").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            seen.append(json.loads((folder / "environment").read_text()))
            if index >= jobs - 1:  # the first of those at work makes room
                (tmp_path / str(index - jobs + 1) / "may_end").touch()
                assert handles[index - jobs + 1].popen.wait(30) == 0
        launcher.stop(handles)
        assert all(handle.poll() is not None for handle in handles)
        return seen

    return run


@pytest.mark.parametrize(
    ("jobs", "gpus"),
    [
        (1, ["0", "0", "0"]),
        (2, ["0", "1", "0"]),
        (4, ["0", "1", "0", "1"]),
    ],
)
def test_every_run_has_a_gpu_of_its_own_or_shares_in_turn(jobs, gpus, launch, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = launch(2, jobs, len(gpus))
    assert [env["CUDA_VISIBLE_DEVICES"] for env in seen] == gpus
    assert {env["OMP_NUM_THREADS"] for env in seen} == {str(8 // jobs)}


def test_a_gpu_that_is_free_again_is_taken(launch, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    seen = launch(3, 3, 5)  # the first ends before the fourth begins, the second before the fifth
    used = [env["CUDA_VISIBLE_DEVICES"] for env in seen]
    assert used == ["GPU-a", "GPU-b", "GPU-c", "GPU-a", "GPU-b"]


@pytest.mark.parametrize("given", [None, ""])
def test_without_a_gpu_the_variable_is_left_alone(given, launch, monkeypatch):
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    (seen,) = launch(0, 1, 1)
    assert seen.get("CUDA_VISIBLE_DEVICES") == given
