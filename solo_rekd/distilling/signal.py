"""The label-free signal of a run: what a host is asked for, and what is found in its history."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from solo_rekd.distilling.photos import PhotoIndex
from solo_rekd.hosts import jobs

HEALTH = "solo_rekd.evaluation.health"


def signal_of(held_out: PhotoIndex) -> dict[str, Any]:
    """What a `Progress` is given so that each epoch is judged by photos that are held out."""
    signal = getattr(jobs, "Signal", None)
    return {} if signal is None else {"signal": signal(images=str(held_out.folder))}


def findings(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a run, a line each, by its history; none: nothing is."""
    if importlib.util.find_spec(HEALTH) is None:
        return []
    return [str(each) for each in importlib.import_module(HEALTH).judge(lines)]
