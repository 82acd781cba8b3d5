"""Checks a training: has it collapsed, diverged, or learnt nothing, or has its relation vanished?

It needs neither labels nor networks. `judge` reads the lines of a history, to which
`hosts/shared/signal.py` adds its figures; `judge_step` reads the figures of one step, which
`objectives/watch.py` collects in every training. Figures that are missing are not checked.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

COLLAPSED, DIVERGED, NOTHING, FAR = "collapsed", "diverged", "nothing", "far"
DEAD, VANISHED = "dead", "vanished"

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
# relatives that a query has in the queue: a bank as large as the queue leaves it about one, by
# chance, and one of the size that `auto` gives leaves it at least four
POSITIVES = 1.5
# the share of the training images that have a relative: those without one train by InfoNCE
RELATED_SHARE = 0.5
# the share of the prototypes that have entries in the queue: of random unit vectors more than half
# of any bank has them, for a prototype that idles for a whole queue is seeded anew
ACTIVE_SHARE = 0.2
SLOWER, WIDER = "Try a learning rate 3 to 10 times lower", "precision 32 instead of 16"
COLLAPSE = (
    "The student has collapsed: it gives all photos nearly the same {}. "
    f"{SLOWER}, a larger batch, or another method; check that the photos differ."
)

Line = Mapping[str, Any]


class Finding(NamedTuple):
    """What is wrong with a training.

    Attributes:
        kind: `collapsed`, `diverged`, `nothing` (it has learnt nothing) or `far` (its loss is far
            above the floor); of a step also `dead` (prototypes) or `vanished` (positives).
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


def judge_step(figures: Line) -> list[Finding]:
    """Judges one step of a training that runs.

    Args:
        figures: any of `loss`; `feature_deviation` of the student's features of a batch and
            `embedding_deviation` of what its head makes of them;
            `positives_per_query`, entries of the queue that are relatives of a query;
            `active_prototypes`, with an entry in the queue, and `possible_prototypes`, how many
            could have one; `related_images`, the share of the training images that have a relative.

    Returns:
        What is wrong; of a loss that is not finite nothing but that.
    """
    if not math.isfinite(figures.get("loss", 0)):
        lost = f"The loss is not a finite number. {SLOWER}, a longer warm-up, or {WIDER}."
        return [Finding(DIVERGED, lost)]
    found = []
    for name in ("feature", "embedding"):
        deviation = figures.get(f"{name}_deviation", math.inf)
        if deviation < COLLAPSED_DEVIATION:
            found.append(
                Finding(COLLAPSED, COLLAPSE.format(f"{name}s (deviation {deviation:.3f})"))
            )
            break
    if figures.get("positives_per_query", math.inf) < POSITIVES:
        positives = (
            f"Hardly any positives: a query has {figures['positives_per_query']:.2g} relatives in "
            "the queue on average, so that the relation adds next to nothing. Try fewer "
            "num_prototypes, or a longer queue_size (auto fits one to the other)."
        )
        found.append(Finding(VANISHED, positives))
    if (share := figures.get("related_images", 1)) < RELATED_SHARE:
        relatives = (
            f"Hardly any positives: {share:.0%} of the training images have a relative, so that "
            "the relation adds next to nothing. Try fewer num_prototypes, or another relation."
        )
        found.append(Finding(VANISHED, relatives))
    possible = figures.get("possible_prototypes", 0)
    active = figures.get("active_prototypes", math.inf)
    if active < ACTIVE_SHARE * possible or active <= 1 < possible:
        dead = (
            f"Dead prototypes: {active:.0f} of {possible:.0f} have entries in the queue, for to "
            "the teacher the images are of so few kinds. Try fewer num_prototypes, or a teacher "
            "that was trained on such images; see that the images differ."
        )
        found.append(Finding(DEAD, dead))
    return found


def _collapsed(trained: Sequence[Line]) -> Finding | None:
    last = trained[-1]
    rank, deviation = last.get("effective_rank", math.inf), last.get("feature_deviation", math.inf)
    if not (rank < COLLAPSED_RANK or deviation < COLLAPSED_DEVIATION):  # NaN is divergence
        return None
    found = f"features (effective rank {rank:.1f}, deviation {deviation:.3f})"
    return Finding(COLLAPSED, COLLAPSE.format(found))


def _diverged(trained: Sequence[Line], before: Line) -> Finding | None:
    names = ("loss", "effective_rank", "agreement")
    lost = [name for line in trained for name in names if not math.isfinite(line.get(name, 0))]
    if lost:
        return Finding(
            DIVERGED,
            f"The training has diverged: {lost[0].replace('_', ' ')} is not a finite number. "
            f"{SLOWER}, a longer warm-up, or {WIDER}.",
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
        f"{last['loss']:.3g}. {SLOWER}, or a longer warm-up.",
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
