"""Runs of two processes on either host of which one is lost: see `faulty/sitecustomize.py`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from processes import is_alive

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector

FAULTY = Path(__file__).with_name("faulty")
COMMAND = Path(sys.executable).with_name("solo-rekd")
START, END = 300, 60  # seconds until both processes are there, and in which a run has to end

# what happens, to which process, and the signal that it gets
FAULTS = [
    ("wait", 1, signal.SIGSTOP),  # the first embeds images, the other waits for it
    ("wait", 1, signal.SIGKILL),
    ("step", 0, signal.SIGSTOP),
    ("step", 1, signal.SIGKILL),
    ("raise", 1, None),
]


def lose(
    flags: Callable[..., list[str]],
    folder: Path,
    fault: str,
    victim: int,
    how: signal.Signals | None,
    **changes: Any,
) -> tuple[int, str]:
    """Runs bingo, whose first process finds bags; returns exit code and what was said.

    Raises:
        AssertionError: a process is there a minute after the fault.
    """
    torch.manual_seed(0)
    parts: dict[str, torch.nn.Module] = {"backbone": build_backbone("resnet18", 32)}
    parts["projector"] = two_layer_projector(512, 16, 8)
    state = {f"{a}.{b}": t for a, part in parts.items() for b, t in part.state_dict().items()}
    torch.save({"state_dict": state}, folder / "teacher.ckpt")
    settings = {
        **{"teacher": "resnet18", "teacher_stem": "small"},
        **{"teacher_checkpoint": folder / "teacher.ckpt"},
        **{"bag_size": 3, "teacher_cache": folder / "bags", "limit_val_batches": 0},
        **{"devices": 2, "strategy": "ddp", "accelerator": "cpu"},
    }
    argv = flags("pretrain", method="bingo", **settings | changes)
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(
            [COMMAND, "pretrain", *argv],
            env=os.environ
            | {"FAULT": fault, "VICTIM": str(victim), "OMP_NUM_THREADS": "1"}
            | {"PYTHONPATH": os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")])},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    begun, pids = [folder / f"begun-{rank}" for rank in range(2)], []
    there = folder / ("there-0" if fault == "wait" else f"there-{victim}")
    try:
        wait_until(lambda: run.poll() is not None or all(path.exists() for path in begun), START)
        time.sleep(0.5)
        assert run.poll() is None, (folder / "log").read_text()
        pids = [int(path.read_text()) for path in begun]
        if how is not None:
            wait_until(lambda: run.poll() is not None or there.exists(), START)
            time.sleep(1)
            os.kill(pids[victim], how)
        if fault == "raise":
            wait_until(lambda: run.poll() is not None, START)
        wait_until(lambda: run.poll() is not None and not any(map(is_alive, pids)), END)
        return run.returncode, (folder / "log").read_text()
    finally:
        for pid in (run.pid, *pids):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def check_it_ends(
    flags: Callable[..., list[str]],
    folder: Path,
    fault: str,
    victim: int,
    how: signal.Signals | None,
) -> None:
    """Runs `lose`, and sees what the run ends with."""
    code, said = lose(flags, folder, fault, victim, how)
    assert code != 0, said
    if how == signal.SIGSTOP:
        assert f"process {victim} of the training has been lost" in said
    if fault == "raise":
        assert "a=1" in said


def wait_until(met: Callable[[], bool], seconds: float) -> None:
    """Waits for a condition, and raises an AssertionError where it is not met in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"not met in {seconds} s"
        time.sleep(0.1)
