"""Processes of which one is lost while another works alone and the rest wait for it."""

import datetime
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from solo_rekd.utils import heartbeat
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.in_turn import first_process_first

LONG = 600  # seconds of honest work


def join(rank: int, processes: int, folder: Path, patience: float) -> None:
    """Makes this process one of a group that loses patience soon, and says that it is there."""
    heartbeat.PATIENCE, heartbeat.GRACE = patience, 1.0  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=processes,
        timeout=datetime.timedelta(seconds=LONG),
    )


def work(rank: int, processes: int, folder: Path, patience: float, seconds: float, fault: str):
    """The first process works, and the others wait; the last, or the first, may have a fault."""
    log = os.open(folder / f"{rank}.err", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    sys.stderr = os.fdopen(log, "w")
    join(rank, processes, folder, patience)
    with heartbeat.watched():
        (folder / f"{rank}.begun").touch()
        if fault == "user" and rank == processes - 1:
            raise UserError("a=1")
        with first_process_first():
            if rank == 0:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    time.sleep(0.1)
    (folder / f"{rank}.done").touch()


def lose(
    folder: Path,
    victim: int,
    how: signal.Signals | None,
    patience: float = 3,
    processes: int = 3,
    seconds: float = LONG,
    fault: str = "",
) -> tuple[list[Any], float]:
    """Sends a signal to one of several processes at work, and waits until all have ended.

    Returns:
        Their exit codes, and how many seconds after the signal the last of them ended.
    """
    context = multiprocessing.get_context("fork")
    arguments = (processes, folder, patience, seconds, fault)
    started = [context.Process(target=work, args=(rank, *arguments)) for rank in range(processes)]
    for each in started:
        each.start()
    try:
        while len(list(folder.glob("*.begun"))) < processes:
            time.sleep(0.05)
        time.sleep(1)
        if how is not None:
            os.kill(started[victim].pid or 0, how)
        begun = time.monotonic()
        for each in started:
            each.join(max(0.0, begun + LONG / 4 - time.monotonic()))
        return [each.exitcode for each in started], time.monotonic() - begun
    finally:
        for each in started:
            each.kill()
