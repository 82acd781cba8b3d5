"""The label-free signal of a run: what a host is asked for, and what is found in its history."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from solo_rekd.distilling.neighbours import neighbours_of
from solo_rekd.hosts import jobs
from solo_rekd.images.photos import PhotoIndex

HEALTH = "solo_rekd.evaluation.health"
FEWEST = 3  # photos, below which each has the same neighbours


def signal_of(held_out: PhotoIndex) -> dict[str, Any]:
    """What a `Progress` is given so that each epoch is judged by photos that are held out."""
    signal, number = getattr(jobs, "Signal", None), len(held_out)
    if signal is None or number < FEWEST:
        return {}
    k = neighbours_of(number)
    return {"signal": signal(images=str(held_out.folder), number=max(number, k + 1), k=k)}


def findings(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a run, a line each, by its history; none: nothing is."""
    if importlib.util.find_spec(HEALTH) is None:
        return []
    judged = importlib.import_module(HEALTH).judge(lines)
    return [str(getattr(each, "message", each)) for each in judged]
