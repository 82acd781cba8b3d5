"""A loop of one's own in two processes trains what it trains in one."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from own_loop import train, train_in_process

PROCESSES = 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seed", "disco"])
def test_two_processes_train_what_one_does(method: str, tmp_path: Path) -> None:
    args = (PROCESSES, method, tmp_path / "store", tmp_path)
    mp.spawn(train_in_process, args=args, nprocs=PROCESSES)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, train(method), rtol=1e-5, atol=1e-6)
