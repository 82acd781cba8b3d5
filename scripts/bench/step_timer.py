"""Times the steps of a trainer, and runs the floor after each of them."""

from contextlib import nullcontext
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.functional import normalize

from bench.cases import Case
from bench.floor import Floor
from bench.sections import Sections
from bench.timing import synchronize

PROFILED = 1  # further steps, whose sections are taken
LAST = 2  # images of one more step, which parts them from the work at the end of an epoch


class StepTimer(pl.Callback):
    """Seconds of each whole step, from the start of one to that of the next, without the floor's.

    What else runs on the machine so slows step and floor alike.

    Args:
        case: whose first steps are not counted.
        floor: run after every step.
    """

    def __init__(self, case: Case, floor: Floor) -> None:
        self.case, self.floor = case, floor
        self.steps: list[float] = []
        self.floors: list[dict[str, float]] = []
        self.sections = Sections()
        self._watched: Any = nullcontext()
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        fill_queues(module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: Any, batch: Any, number: int
    ) -> None:
        synchronize(module.device)
        now = perf_counter()
        self._watched.__exit__(None, None, None)
        first, last = self.case.warmup, self.case.warmup + self.case.steps
        if first < number <= last:
            self.steps.append(now - self._started)
        if number <= last:
            parts = self.floor.run()
            if number > first:
                self.floors.append(parts)
        profiled = last <= number < last + PROFILED
        self._watched = self.sections if profiled else nullcontext()
        synchronize(module.device)
        self._started = perf_counter()
        self._watched.__enter__()


@torch.no_grad()
def fill_queues(module: Any) -> None:
    """Fills the queues with random keys, so that a relation counts from the first step on."""
    objective = getattr(module, "objective", None)
    for queue in getattr(objective, "queues", []):
        # of small integers there are the labels and the prototypes, which are not known yet
        contents = {name: queue[name] for name in queue.names}
        random = {
            name: normalize(torch.randn_like(content), dim=1)
            if content.is_floating_point()
            else torch.full_like(content, -1)
            for name, content in contents.items()
        }
        queue.push(**random)
