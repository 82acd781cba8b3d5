"""How a run is monitored: the label-free signal, and the formats of its history."""

from typing import Any

from solo_rekd.distilling.neighbours import neighbours_of
from solo_rekd.hosts.jobs import CSV, TENSORBOARD, Signal
from solo_rekd.images.photos import PhotoIndex
from solo_rekd.utils.errors import is_installed

FEWEST = 3  # photos; with fewer, all have the same neighbours


def signal_of(held_out: PhotoIndex) -> Signal | None:
    """Makes the signal that evaluates each epoch on held-out photos; None: they are too few."""
    number = len(held_out)
    if number < FEWEST:
        return None
    return Signal(images=str(held_out.folder), number=number, k=neighbours_of(number))


def watched(held_out: PhotoIndex) -> dict[str, Any]:
    """Returns the arguments of `Progress` besides the history."""
    logs = (CSV, TENSORBOARD) if is_installed(TENSORBOARD) else (CSV,)
    return {"signal": signal_of(held_out), "logs": logs}
