"""Gives one of two processes that pretrain a fault, and both of them little patience.

Every process that Python starts has it, by PYTHONPATH: Lightning of the current host starts the
second one with the host's own script. VICTIM is the number of a process, and FAULT what it does in
its third step, or `wait`, in which the first process embeds images for the rest of the test and the
other waits for it. Each process writes its pid to a file, named by its number, once it is there.
"""

import os
import time
from pathlib import Path
from typing import Any

from solo_rekd.objectives import DistillationObjective, teacher_cache
from solo_rekd.utils import heartbeat
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.processes import rank

heartbeat.PATIENCE = 8.0  # type: ignore[attr-defined]
FAULT, VICTIM = os.environ["FAULT"], int(os.environ["VICTIM"])
steps = []
compute = teacher_cache.Rows.finish
training = DistillationObjective.before_training


def say(word: str) -> None:
    Path(f"{word}-{rank()}").write_text(str(os.getpid()))


def begin(self: Any, *args: Any) -> None:
    say("begun")
    training(self, *args)
    query = self.query

    def step(batch: Any) -> Any:
        steps.append(1)
        if len(steps) == 3 and rank() == VICTIM and FAULT == "raise":
            raise UserError("a=1")
        if len(steps) == 3 and FAULT == "step":
            say("there")
            while rank() == VICTIM:  # until the test stops or kills it
                time.sleep(0.1)
        return query(batch)

    self.query = step


def finish(self: Any) -> Any:
    say("there")
    while FAULT == "wait":  # embeddings of a large data set take hours
        time.sleep(0.1)
    return compute(self)


teacher_cache.Rows.finish = finish
DistillationObjective.before_training = begin
