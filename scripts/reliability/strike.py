"""When a command is killed, and how.

At any moment, while a checkpoint is written, or twice, each time with all that it started; or
alone, so that what it started is to end by itself.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from reliability.commands import EPOCHS
from reliability.family import Family
from reliability.process_tree import tree
from solo_rekd.hosts.shared.saved import CHECKPOINTS, epoch_of
from solo_rekd.utils.files import UNFINISHED

ANY, WRITE, TWICE, ALONE = "any", "write", "twice", "alone"
KINDS = (ANY, WRITE, TWICE, ALONE)
POLL = 0.003  # seconds
WRITING = 0.05  # seconds, about what the write of a small checkpoint takes
SOON = 0.6  # of an uninterrupted command, in which the second kill follows


@dataclass(frozen=True)
class Strike:
    """A kill.

    Attributes:
        seconds: since the command began.
        epochs: that had a whole checkpoint then.
        unfinished: checkpoints that were being written.
        ended: seconds after which the last process was gone.
    """

    seconds: float
    epochs: int
    unfinished: int
    ended: float


def strike(
    family: Family, kind: str, rng: random.Random, expected: float, folder: Path
) -> Strike | None:
    """Waits for a moment that is drawn, and kills a command then.

    Args:
        family: the command with all that it started.
        kind: `any`, `write` or `alone`.
        rng: draws the moment.
        expected: seconds that the moment is one of.
        folder: with the checkpoints of the training, as the host lays them out.

    Returns:
        The kill; None where the command ended before its moment.
    """
    if kind == WRITE:
        epoch, delay = rng.randrange(EPOCHS), rng.random() * WRITING
        if not freeze_in_write(family, folder, epoch, delay):
            return None
    else:
        while kind == ALONE and len(tree(family.process.pid)) == 1:  # nothing that could be left
            if family.process.poll() is not None:
                return None
            time.sleep(POLL)
        moment = family.seconds + rng.random() * max(0.0, expected - family.seconds)
        while family.seconds < moment:
            if family.process.poll() is not None:
                return None
            time.sleep(POLL)
    seconds = family.seconds
    if family.process.poll() is not None:
        return None
    ended = family.kill(alone=kind == ALONE)
    whole = [epoch_of(path) + 1 for path in folder.glob(CHECKPOINTS)]
    return Strike(seconds, max(whole, default=0), len(writes(folder)), ended)


def freeze_in_write(family: Family, folder: Path, epoch: int, delay: float) -> bool:
    """Freezes a command in the middle of the write of a checkpoint; False where it ended first.

    Args:
        family: the command.
        folder: with the checkpoints.
        epoch: from 0, whose checkpoint or that of a later one it is to be.
        delay: seconds after the write began.
    """
    while family.process.poll() is None:
        if any(epoch_of(Path(path.name.partition(".ckpt.")[0] + ".ckpt")) >= epoch
               for path in writes(folder)):  # fmt: skip
            time.sleep(delay)
            family.freeze()
            if writes(folder):
                return True
            family.thaw()  # it was written meanwhile
            delay /= 2
        time.sleep(POLL)
    return False


def writes(folder: Path) -> list[Path]:
    """The checkpoints that are being written."""
    return list(folder.glob(f"{CHECKPOINTS}.*{UNFINISHED}"))
