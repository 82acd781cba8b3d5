"""Says once per training what goes wrong in its steps, whatever loop it trains in.

A step compares one number on the device and waits for nothing. In one step of `EVERY`, and in the
last of each epoch where its length is known, the figures are read, and
`evaluation/health.py` judges them.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from solo_rekd.evaluation.agreement import unit_deviation
from solo_rekd.evaluation.health import Finding, judge_step
from solo_rekd.utils.processes import is_first

_log = logging.getLogger("solo_rekd")

EVERY = 50  # steps: one wait for the device in so many is lost among them
NEVER = 0  # the first step is 1
LOGGED = ("positives_per_query", "active_prototypes")  # of what an objective logs


class Watch:
    """Watches the steps of a training.

    What may be an accident of one batch is said when it is seen twice in a row.

    Attributes:
        step: that was noted last, from 1; a host that resumes a training sets it.
        epoch_steps: of an epoch; 0: not known.
    """

    def __init__(self) -> None:
        self.step = self.epoch_steps = 0
        self._lost_at: Tensor | None = None
        self._suspected: dict[str, int] = {}
        self._said: set[str] = set()

    @torch.no_grad()
    def note(
        self,
        features: Tensor,
        embedded: Tensor | None,
        loss: Tensor,
        logs: Mapping[str, Tensor],
        prototypes: int,
    ) -> None:
        """Notes a step.

        Args:
            features: the student's of one view, shape (B, f).
            embedded: what its head makes of them, shape (B, d); None: it is not known.
            loss: a scalar.
            logs: what the objective logs.
            prototypes: how many could have an entry in the queue; 0: there is no bank.
        """
        self.step += 1
        if self._lost_at is None:
            self._lost_at = torch.full((), NEVER, device=loss.device)
        lost = ~loss.isfinite() & (self._lost_at == NEVER)
        self._lost_at = self._lost_at.masked_fill(lost, self.step)
        ends_epoch = self.epoch_steps > 0 and self.step % self.epoch_steps == 0
        if self.step % EVERY and not ends_epoch:
            return
        found = {"lost_at": self._lost_at, "loss": loss}
        found |= {name: logs[name] for name in LOGGED if name in logs}
        if len(features) > 1:  # one image lies nowhere apart
            found["feature_deviation"] = unit_deviation(features.float())
            if embedded is not None:
                found["embedding_deviation"] = unit_deviation(embedded.float())
        # one wait for all
        values = torch.stack([value.float() for value in found.values()]).tolist()
        self._look(dict(zip(found, values, strict=True)) | {"possible_prototypes": prototypes})

    def _look(self, figures: dict[str, float]) -> None:
        lost_at = int(figures.pop("lost_at"))
        if lost_at != NEVER:
            self._warn(judge_step({"loss": math.nan}), f"step {lost_at}")
        findings = judge_step(figures)
        for finding in findings:
            if (since := self._suspected.get(finding.kind)) is not None:
                self._warn([finding], f"step {since}")
        self._suspected = {
            finding.kind: self._suspected.get(finding.kind, self.step) for finding in findings
        }

    def judge(self, figures: Mapping[str, float]) -> None:
        """Says what is wrong with figures that are no accident of one batch, see `judge_step`."""
        self._warn(judge_step(figures), f"before step {self.step + 1}")

    def _warn(self, findings: Sequence[Finding], when: str) -> None:
        for finding in findings:
            if finding.kind not in self._said and is_first():
                _log.warning("%s: %s", when, finding.message)
            self._said.add(finding.kind)


def watch_step(
    objective: Any, given: tuple[Any, ...], said: tuple[Tensor, Mapping[str, Tensor]]
) -> None:
    """The forward hook of an objective, whose steps it notes.

    Args:
        objective: a `DistillationObjective`.
        given: of which the batch is the first.
        said: the loss, and what is logged.
    """
    loss, logs = said
    features, prototypes = given[0].features[0], objective.possible_prototypes
    objective.watch.note(features, objective.embedded, loss, logs, prototypes)
