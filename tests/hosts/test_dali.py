"""What a DALI pipeline of either host is given for the machine that it runs on."""

import gc
import multiprocessing

import pytest
import torch

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")

from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

from solo_rekd.hosts.dali import fit_machine


def test_the_device_is_torch_s_and_not_the_process_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)  # the second of devices: [2, 3]
    assert fit_machine(4, 0)[:2] == (4, 3)


def test_without_a_gpu_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fit_machine(0, 0)[:2] == (1, None)


def test_another_run_draws_other_numbers() -> None:
    seeds = set()
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seeds.add(fit_machine(1, 12)[2])
    assert len(seeds) == 2


def test_a_worker_leaves_its_parent_s_pipelines_alone() -> None:
    pipeline = Pipeline(batch_size=2, num_threads=1, device_id=None, seed=0)
    with pipeline:
        pipeline.set_outputs(fn.random.uniform())
    pipeline.build()
    pipeline.run()
    worker = multiprocessing.get_context("fork").Process(target=gc.collect)
    gc.disable()
    try:
        pipeline.itself = pipeline  # garbage that only a collection frees
        del pipeline
        worker.start()
        worker.join(timeout=30)
        assert worker.exitcode == 0
    finally:
        gc.enable()
        worker.kill()
