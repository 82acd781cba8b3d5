"""Steps in processes of their own: with another version of the package, or several together."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cases import Arm, Case

SCRIPTS = Path(__file__).parents[1]
ROOT = SCRIPTS.parent
MARK = "result: "  # before the last line, which is the answer


def start(
    task: dict[str, Any], package: Path = ROOT, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts a process that measures, with the `solo_rekd` that lies in the folder `package`."""
    paths = [str(package), str(SCRIPTS), os.environ.get("PYTHONPATH", "")]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.workers", json.dumps(task)],
        cwd=SCRIPTS,  # which comes first on the path: it has no solo_rekd
        env=settings | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> Any:
    """Waits for a process, and reads what it measured.

    Raises:
        SystemExit: it failed.
    """
    said, complaints = process.communicate()
    if process.returncode:
        raise SystemExit(f"a step failed:\n{complaints[-3000:]}")
    return json.loads(said.rpartition(MARK)[2])


def task_of(
    case: Case, arms: Sequence[Arm], folder: Path, formats: dict[str, str], device: str
) -> dict[str, Any]:
    """What a process is to measure, as JSON takes it; `folder` is as `prepare` left it."""
    return {
        "case": asdict(case),
        "arms": [asdict(arm) for arm in arms],
        "folder": str(folder),
        "formats": formats,
        "device": device,
    }


def together(task: dict[str, Any], processes: int) -> list[Any]:
    """Runs a task in several processes that train as one, by gloo on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    shared |= {"WORLD_SIZE": str(processes)}
    started = [
        start(task | {"processes": processes}, environment=shared | {"LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    return [answer(process) for process in started]


def peak_resident_bytes() -> int | None:
    """The most memory that this process has held; None where the system does not say.

    That of `getrusage` would count the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def main() -> None:
    """Measures a task in this process, and prints the answer as JSON."""
    import torch

    from bench.host_step import run_steps

    task = json.loads(sys.argv[1])
    device = torch.device(task["device"])
    case = Case(**task["case"])
    results = []
    for settings in task["arms"]:
        arm = Arm(**settings | {"flags": tuple(settings["flags"])})
        results.append(
            run_steps(
                case,
                arm,
                Path(task["folder"]),
                task["formats"],
                device,
                task.get("processes", 1),
            )
        )
    print(MARK + json.dumps({"results": results, "resident_bytes": peak_resident_bytes()}))


if __name__ == "__main__":
    main()
