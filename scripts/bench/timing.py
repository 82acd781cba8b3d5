"""Seconds of work, and what machine it was done on."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def synchronize(device: torch.device | str) -> None:
    """Waits for a GPU's queued work; a CPU has none."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Wall-clock time of one call, in seconds."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Median seconds of each piece of work; they take turns, after one unmeasured round.

    What else runs on the machine so slows all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work, device)
            if number:
                taken[name].append(spent)
    return {name: statistics.median(values) for name, values in taken.items()}


def machine(device: str) -> dict[str, str]:
    """What the figures of a device, `cpu` or `cuda`, depend on."""
    on_cpu = {"processor": _processor(), "threads of torch": str(torch.get_num_threads())}
    on_gpu = {"GPU": torch.cuda.get_device_name()} if device == "cuda" else {}
    return on_gpu | on_cpu | {"torch": torch.__version__}


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
