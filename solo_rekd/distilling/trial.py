"""How fast a job runs: a short training of the real job, whose steps are timed.

It says how many epochs fit a budget of time, before the schedule of the real one is made.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass

from solo_rekd.hosts.jobs import Host, Pretraining, Progress, Signal
from solo_rekd.utils.log_levels import at_level

STEPS = 12  # of a trial, at most
WARM = 3  # steps at its start that are not counted: memory, workers and kernels are made ready
RESERVE = 0.05  # of a budget, for what comes after the training


@dataclass(frozen=True)
class Speed:
    """What a trial measured.

    Attributes:
        step: seconds of a step.
        between: seconds of what an epoch has besides its steps.
        spent: seconds of the whole trial.
        images: of a step.
    """

    step: float
    between: float
    spent: float
    images: int

    @property
    def images_per_second(self) -> float:
        """Of the steps alone."""
        return self.images / self.step


def measure(host: Host, job: Pretraining, signal: Signal | None = None) -> Speed:
    """Trains for a few steps, and keeps nothing of it but what the teacher's cache keeps.

    Args:
        host: that is to do the job.
        job: the real one.
        signal: that each epoch of it is judged by, which takes time too.

    Raises:
        UserError: as the job itself would.
    """
    started = time.perf_counter()
    ends: list[float] = []
    short = dataclasses.replace(
        job, epochs=1, host={**job.host, "limit_train_batches": STEPS, "enable_progress_bar": False}
    )
    progress = Progress(share=lambda _: ends.append(time.perf_counter()), signal=signal)
    # so short a training is warned about for its length
    with at_level("solo_rekd", logging.ERROR):
        host.pretrain(short, None, None, progress)
    ended = time.perf_counter()
    return read_times(started, ends, ended, job.batch_size)


def read_times(started: float, ends: list[float], ended: float, images: int) -> Speed:
    """Makes of the times at which steps ended what a step takes.

    Args:
        started: of the trial, in seconds.
        ends: of each step, at least one.
        ended: of the trial.
        images: of a step.
    """
    warm = min(WARM, len(ends) - 1)
    first, counted = ends[warm - 1] if warm else started, len(ends) - warm
    return Speed((ends[-1] - first) / counted, ended - ends[-1], ended - started, images)


def affordable(speed: Speed, hours: float, steps: int) -> int:
    """How many epochs fit a budget; 0: not even one.

    Args:
        speed: what was measured.
        hours: the budget, of which the trial was a part.
        steps: of an epoch.
    """
    left = hours * 3600 * (1 - RESERVE) - speed.spent
    return max(0, int(left // (steps * speed.step + speed.between)))
