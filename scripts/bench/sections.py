"""Where the time of a step goes, by the file that the work was called from."""

import sys
from collections import defaultdict
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

import torch

# parts of a path, and of a function's name, to the section that its time is of. The first that
# fits counts; what fits none is of its caller's section.
PLACES = (
    ("solo_rekd/losses/", "", "loss"),
    ("solo/losses/", "", "loss"),
    ("solo_rekd/modules/queue.py", "", "queue"),
    ("solo/methods/mocov2plus.py", "_dequeue_and_enqueue", "queue"),
    ("solo_rekd/modules/prototypes.py", "", "miner"),
    ("solo_rekd/objectives/rekd.py", "relation_metrics", "miner"),
    ("solo_rekd/teachers/", "", "teacher"),
    ("solo_rekd/objectives/distillation.py", "teach", "teacher's probe"),
    ("solo_rekd/objectives/", "", "rest of the objective"),
    ("solo/utils/momentum.py", "", "momentum update"),
    ("solo/methods/base.py", "_base_momentum_forward", "momentum twin"),
    ("solo/methods/base.py", "base_momentum_forward", "momentum twin"),
    ("solo/methods/base.py", "_shared_step_momentum", "momentum twin"),
    ("solo/methods/base.py", "base_forward", "student's forward"),
    ("solo/methods/base.py", "_base_shared_step", "host's classifier and metrics"),
    ("solo/utils/metrics.py", "", "host's classifier and metrics"),
    ("torch/autograd/graph.py", "_engine_run_backward", "backward"),
    ("torch/optim/optimizer.py", "zero_grad", "optimiser"),
    ("torch/optim/", "step", "optimiser"),
    ("torch/optim/", "_single_tensor", "optimiser"),
    ("torch/optim/", "_multi_tensor", "optimiser"),
    ("connectors/logger_connector/", "", "logging"),
    ("torchmetrics/", "", "logging"),
    ("pytorch_lightning/core/", "log", "logging"),
    ("solo/methods/mocov2plus.py", "", "rest of the objective"),
    ("solo/methods/simclr.py", "", "rest of the objective"),
    ("solo_rekd/hosts/", "", "adapter and callbacks"),
    ("torch/utils/data/", "", "loader"),
)
REST = "trainer"
WHOLE = ("miner", "momentum update")  # keep what they call, wherever that is written


def place_of(path: str, function: str) -> str | None:
    """The section of a function's own time; None: that of its caller."""
    for part, name, section in PLACES:
        if part in path and function.startswith(name):
            return section
    return None


class Sections:
    """Seconds by section, while it is active.

    It watches the calls of Python functions, which costs a few microseconds each: the shares are
    to be read, not the sum. A GPU's work is waited for at each change of section.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._known: dict[CodeType, str | None] = {}
        self._stack: list[str] = []
        self._gpu = torch.cuda.is_available()

    def __enter__(self) -> "Sections":
        self._stack = [REST]
        self._last = perf_counter()
        sys.setprofile(self._watch)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.setprofile(None)
        self._charge()

    def _charge(self) -> None:
        if self._gpu:
            torch.cuda.synchronize()
        now = perf_counter()
        self.seconds[self._stack[-1]] += now - self._last
        self._last = now

    def _watch(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            section = self._stack[-1]
            if section not in WHOLE:
                section = self.section_of(frame.f_code) or section
            if section != self._stack[-1]:
                self._charge()
            self._stack.append(section)
        elif event == "return" and len(self._stack) > 1:  # of calls that began before: none
            section = self._stack[-1]
            if section != self._stack[-2]:
                self._charge()
            self._stack.pop()

    def section_of(self, code: CodeType) -> str | None:
        """The section that a function's own time is of; None: that of its caller."""
        if code not in self._known:
            path = code.co_filename.replace("\\", "/")
            found = (
                s for part, name, s in PLACES if part in path and code.co_name.startswith(name)
            )
            self._known[code] = next(found, None)
        return self._known[code]
