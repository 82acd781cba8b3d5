"""Measures how fast a job runs, in a short training of the real job.

From that follows how many epochs fit in a time limit, before the job's schedule is made.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass

from solo_rekd.hosts.jobs import Host, Pretraining, Progress, Signal
from solo_rekd.utils.log_levels import at_level

STEPS = 12  # in a trial, at most
WARM = 3  # first steps that are not counted: memory, workers and kernels warm up
RESERVE = 0.05  # share of the time limit for what comes after the training


@dataclass(frozen=True)
class Speed:
    """What a trial measured.

    Attributes:
        step: seconds per step.
        between: seconds per epoch besides its steps.
        spent: seconds of the whole trial.
        images: images per step.
    """

    step: float
    between: float
    spent: float
    images: int

    @property
    def images_per_second(self) -> float:
        """Images per second in the steps alone."""
        return self.images / self.step


def measure(host: Host, job: Pretraining, signal: Signal | None = None) -> Speed:
    """Trains for a few steps, and keeps only what goes to the teacher's cache.

    Args:
        host: host that will do the job.
        job: the real job.
        signal: signal that evaluates each epoch, which takes time too.

    Raises:
        UserError: as the job itself would raise.
    """
    started = time.perf_counter()
    ends: list[float] = []
    short = dataclasses.replace(
        job, epochs=1, host={**job.host, "limit_train_batches": STEPS, "enable_progress_bar": False}
    )
    progress = Progress(share=lambda _: ends.append(time.perf_counter()), signal=signal)
    # hides the warnings about so short a training
    with at_level("solo_rekd", logging.ERROR):
        host.pretrain(short, None, None, progress)
    ended = time.perf_counter()
    return read_times(started, ends, ended, job.batch_size)


def read_times(started: float, ends: list[float], ended: float, images: int) -> Speed:
    """Computes the speed from the times at which the steps ended.

    Args:
        started: start of the trial, in seconds.
        ends: end of each step, at least one.
        ended: end of the trial.
        images: images per step.
    """
    warm = min(WARM, len(ends) - 1)
    first, counted = ends[warm - 1] if warm else started, len(ends) - warm
    return Speed((ends[-1] - first) / counted, ended - ends[-1], ended - started, images)


def affordable(speed: Speed, hours: float, steps: int) -> int:
    """Returns how many epochs fit in a time limit; 0: not even one.

    Args:
        speed: measured speed.
        hours: time limit, which includes the trial.
        steps: steps per epoch.
    """
    left = hours * 3600 * (1 - RESERVE) - speed.spent
    return max(0, int(left // (steps * speed.step + speed.between)))
