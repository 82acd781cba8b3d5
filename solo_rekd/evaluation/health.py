"""Checks a training by the lines of its history: has it collapsed, diverged, or learnt nothing?

It needs neither labels nor networks, only the figures that `hosts/shared/signal.py` adds to a
history. Figures that a history lacks are not checked.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

COLLAPSED, DIVERGED, NOTHING, FAR = "collapsed", "diverged", "nothing", "far"

# features of a healthy network fill tens of directions; in a collapsed one, a single direction
# holds all but a few percent of the singular values
COLLAPSED_RANK = 1.5
# deviation of unit features, near 1 where they are spread; 0.01 is the rounding of bfloat16
COLLAPSED_DEVIATION = 0.01
# the rise of a loss, as a share of the way from its first value to its floor: epochs differ by a
# few percent of it by chance
RISE = 0.2
# standard errors: by chance alone, a figure is further off once in twenty runs
ERRORS = 2.0
# the remaining share of the way from the first epoch's loss to the floor: a training with more
# than half of it left has not converged
FAR_SHARE = 0.5
# the share of the way from chance to the ceiling at which a student is good whatever its loss
GOOD_AGREEMENT = 0.5
# first epochs in which a running training may show nothing: its learning rate still rises, and a
# deep network's BatchNorm statistics lag behind its weights
PATIENCE = 3

Line = Mapping[str, Any]


class Finding(NamedTuple):
    """What is wrong with a training.

    Attributes:
        kind: `collapsed`, `diverged`, `nothing` (it has learnt nothing) or `far` (its loss is far
            above the floor).
        message: what was found and what to try, in one line.
    """

    kind: str
    message: str


def judge(lines: Sequence[Line], finished: bool = True) -> list[Finding]:
    """Checks a training by the lines of its history so far.

    Args:
        lines: one line per epoch, in order; the line of epoch -1, if any, describes the untrained
            student.
        finished: whether the training has ended; in the first epochs of a running training, only
            divergence is checked.

    Returns:
        What is wrong, the worst first; empty where nothing is, or no epoch has ended.
    """
    before = next((line for line in lines if line["epoch"] < 0), {})
    trained = [line for line in lines if line["epoch"] >= 0]
    if not trained:
        return []
    if not finished and len(trained) < PATIENCE:
        checks = [_diverged(trained, before)]
    else:
        checks = [_collapsed(trained), _diverged(trained, before)]
        if not any(checks):
            checks.append(_learnt_nothing(trained[-1], before) or _far_from_floor(trained))
    return [finding for finding in checks if finding is not None]


def _collapsed(trained: Sequence[Line]) -> Finding | None:
    last = trained[-1]
    rank, deviation = last.get("effective_rank", math.inf), last.get("feature_deviation", math.inf)
    if not (rank < COLLAPSED_RANK or deviation < COLLAPSED_DEVIATION):  # NaN is divergence
        return None
    return Finding(
        COLLAPSED,
        f"The student has collapsed: it gives all photos nearly the same features (effective rank "
        f"{rank:.1f}, deviation {deviation:.3f}). Try a learning rate 3 to 10 times lower, a "
        "larger batch, or another method; check that the photos differ.",
    )


def _diverged(trained: Sequence[Line], before: Line) -> Finding | None:
    names = ("loss", "effective_rank", "agreement")
    lost = [name for line in trained for name in names if not math.isfinite(line.get(name, 0))]
    if lost:
        return Finding(
            DIVERGED,
            f"The training has diverged: {lost[0].replace('_', ' ')} is not a finite number. Try a "
            "learning rate 3 to 10 times lower, a longer warm-up, or precision 32 instead of "
            "16.",
        )
    first, last = trained[0], trained[-1]
    if "loss" not in first or "loss" not in last:
        return None
    start, now = _above_floor(first), _above_floor(last)
    if now - start <= RISE * max(abs(start), 1e-9) or _gained(last, before):
        return None
    return Finding(
        DIVERGED,
        f"The training diverges: the loss has risen from {first['loss']:.3g} in the first epoch to "
        f"{last['loss']:.3g}. Try a learning rate 3 to 10 times lower, or a longer warm-up.",
    )


def _learnt_nothing(last: Line, before: Line) -> Finding | None:
    if "agreement" not in last:
        return None
    agreement, error = last["agreement"], last.get("agreement_error", 0.0)
    chance = last.get("agreement_chance", 0.0)
    advice = (
        "Try a learning rate 3 times higher and 3 times lower, and more epochs; check that the "
        "teacher was trained on similar photos."
    )
    if agreement - chance <= ERRORS * error:
        return Finding(
            NOTHING,
            f"The student has learnt nothing from its teacher: they share {agreement:.1%} of the "
            f"nearest photos, and {chance:.1%} would be chance. {advice}",
        )
    if "agreement" in before and not _gained(last, before):
        return Finding(
            NOTHING,
            f"The student has learnt nothing from its teacher: they share {agreement:.1%} of the "
            f"nearest photos, and shared {before['agreement']:.1%} before the training. {advice}",
        )
    return None


def _far_from_floor(trained: Sequence[Line]) -> Finding | None:
    first, last = trained[0], trained[-1]
    if len(trained) < 2 or not all("loss_floor" in line and "loss" in line for line in trained):
        return None
    start, now = _above_floor(first), _above_floor(last)
    chance, ceiling = last.get("agreement_chance", 0.0), last.get("agreement_ceiling", 1.0)
    good = last.get("agreement", 0.0) >= chance + GOOD_AGREEMENT * (ceiling - chance)
    if good or start <= 0 or now <= FAR_SHARE * start:
        return None
    return Finding(
        FAR,
        f"The loss is still far above what is possible: {last['loss']:.3g}, with a floor of "
        f"{last['loss_floor']:.3g} (it began at {first['loss']:.3g}). Try more epochs, a higher "
        "learning rate, a larger student, or a smaller teacher.",
    )


def _gained(last: Line, before: Line) -> bool:
    """Whether the agreement has risen above the untrained student's by more than chance."""
    if "agreement" not in last or "agreement" not in before:
        return False
    errors = math.hypot(last.get("agreement_error", 0.0), before.get("agreement_error", 0.0))
    return last["agreement"] - before["agreement"] > ERRORS * errors


def _above_floor(line: Line) -> float:
    return line["loss"] - line.get("loss_floor", 0.0)
