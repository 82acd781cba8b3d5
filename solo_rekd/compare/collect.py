"""Collects the results of a comparison into the dictionary that its report is made from."""

import importlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from solo_rekd.compare.arms import STARTING, UNTRAINED, Arm
from solo_rekd.compare.judge import with_gap_closed
from solo_rekd.compare.plan import TEACHER_FOLDER, Plan
from solo_rekd.utils.files import read_json, read_json_lines
from solo_rekd.utils.versions import versions

PACKAGES = ("solo-rekd torch torchvision timm pillow numpy scikit-learn").split()


def collect(
    plan: Plan, out: Path, failed: Mapping[str, str], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Collects everything that is known of a comparison so far.

    Args:
        plan: settings of the comparison.
        out: its folder.
        failed: why runs failed, by their folder relative to `out`.
        context: what stays the same for all runs: command, protocol, machine, versions, classes
            and networks.

    Returns:
        The comparison, as docs/compare.md describes comparison.json.
    """
    runs, failures, unfinished = [], [], []
    if reason := failed.get(TEACHER_FOLDER):
        failures.append(describe_failure("teacher", 0, TEACHER_FOLDER, reason))
    for run in plan.runs:
        name, seed, folder = label(run.arm, plan), run.seed, run.folder
        if finished := read_run(out, folder):
            runs.append({"arm": name, "seed": seed} | finished)
        elif reason := failed.get(folder):
            failures.append(describe_failure(name, seed, folder, reason))
        else:
            unfinished.append({"arm": name, "seed": seed})
    teacher = read_run(out, TEACHER_FOLDER) if plan.has_frozen_teacher else None
    return {
        "title": plan.title,
        **context,
        "arms": [
            {"name": label(arm, plan), "method": arm.method, "settings": arm.settings}
            for arm in plan.arms
        ],
        "seeds": list(plan.all_seeds),
        "judge_by": plan.judge_by,
        "runs": with_gap_closed(runs, teacher, plan.judge_by),
        "teacher": teacher and {"arm": "teacher", "seed": 0} | teacher,
        "failed": failures,
        "unfinished": unfinished,
    }


def label(arm: Arm, plan: Plan) -> str:
    """Returns an arm's name in the report: as written, or `STARTING` for an untrained file."""
    return STARTING if arm.method == UNTRAINED and plan.student_checkpoint else arm.name


def describe_failure(arm: str, seed: int, folder: str, reason: str) -> dict[str, Any]:
    """Describes what failed, why, and where its log is."""
    return {"arm": arm, "seed": seed, "reason": reason, "log": f"{folder}/log.txt"}


def read_run(out: Path, folder: str) -> dict[str, Any] | None:
    """Reads a finished run: its result, history and folder; None if it is not finished."""
    result = read_json(out / folder / "result.json")
    if result is None:
        return None
    history = read_json_lines(out / folder / "history.jsonl")
    checkpoint = str(out / folder / result["checkpoint"])
    return {"folder": folder, "history": history, **result, "checkpoint": checkpoint}


def describe_machine(threads: int) -> dict[str, str]:
    """Describes the machine that the runs ran on.

    Args:
        threads: torch threads per run, where OMP_NUM_THREADS is not set.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "CPU": cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "GPU": gpu,
        "torch threads": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "system": platform.platform(),
        "Python": platform.python_version(),
    }


def describe_loader(dali: str | None) -> dict[str, str]:
    """Describes what loads the images of a host's jobs.

    Args:
        dali: device that NVIDIA DALI loads them on; None: torchvision loads them.
    """
    if dali is None:
        return {"image loader": "torchvision"}
    version = importlib.import_module("nvidia.dali").__version__
    device = dali if torch.cuda.is_available() else "cpu"
    return {"image loader": f"DALI {version} on the {device.upper()}"}


def describe_resizing(tensors: bool) -> dict[str, str]:
    """Describes what resizes the images; the pixels may differ by rounding."""
    by = "torchvision's v2, on tensors" if tensors else "torchvision, on pictures"
    return {"images resized by": by}


def cpu_model() -> str:
    """Returns the processor's name as Linux gives it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_versions(host: Mapping[str, str]) -> dict[str, str]:
    """Returns the version of every package that affects the results.

    Args:
        host: versions of the host and of its Lightning.
    """
    return {**host, **versions(PACKAGES)}
