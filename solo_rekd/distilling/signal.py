"""What a run is watched by: the signal without labels, and the forms of its history."""

from typing import Any

from solo_rekd.distilling.neighbours import neighbours_of
from solo_rekd.hosts.jobs import CSV, TENSORBOARD, Signal
from solo_rekd.images.photos import PhotoIndex
from solo_rekd.utils.errors import is_installed

FEWEST = 3  # photos, below which each has the same neighbours


def signal_of(held_out: PhotoIndex) -> Signal | None:
    """What judges each epoch by photos that are held out; None: they are too few."""
    number = len(held_out)
    if number < FEWEST:
        return None
    return Signal(images=str(held_out.folder), number=number, k=neighbours_of(number))


def watched(held_out: PhotoIndex) -> dict[str, Any]:
    """What a `Progress` is given besides the history."""
    logs = (CSV, TENSORBOARD) if is_installed(TENSORBOARD) else (CSV,)
    return {"signal": signal_of(held_out), "logs": logs}
