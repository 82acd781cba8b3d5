"""The accuracy that a comparison is judged by, and the share of the gap to the teacher closed."""

from collections.abc import Mapping, Sequence
from typing import Any

from solo_rekd.compare.arms import STARTING, UNTRAINED

# their names in the report
JUDGES = {
    "linear_cached": "linear top-1 on cached features",
    "linear_host": "linear top-1 of the host's harness",
    "knn": "kNN top-1",
    "few_label": "top-1 with 3 labels per class",
    "few_label_1pct": "top-1 with 1 % of the labels",
}
JUDGE = "linear_cached"  # it has no learning rate, and varies least between seeds
GAP = "gap_closed"


def share_closed(student: float, untrained: float, teacher: float) -> float | None:
    """Returns the share of the gap from the untrained student to the teacher, in percent.

    Args:
        student: accuracy of the trained student.
        untrained: accuracy of the same network before its training.
        teacher: accuracy of the teacher.

    Returns:
        0 for the untrained student, 100 for the teacher; None where the teacher is not above the
        untrained student.
    """
    if teacher <= untrained:
        return None
    return 100 * (student - untrained) / (teacher - untrained)


def with_gap_closed(
    runs: Sequence[Mapping[str, Any]], teacher: Mapping[str, Any] | None, judge: str
) -> list[dict[str, Any]]:
    """Adds the share of the gap to the teacher that each run closes, where that is known.

    Args:
        runs: finished runs, each with its arm, seed and results.
        teacher: the result of the shared teacher; None where there is none.
        judge: a name of `JUDGES`.

    Returns:
        The runs; those of trained arms have `gap_closed` with `judge`, and `percent`, measured by
        `judge` from the untrained student of the same seed.
    """
    bounds = {run["seed"]: _top1(run, judge) for run in runs if run["arm"] in (UNTRAINED, STARTING)}
    above = teacher and _top1(teacher, judge)
    found = []
    for run in runs:
        own, below = _top1(run, judge), bounds.get(run["seed"])
        percent = None
        if None not in (own, below, above) and run["arm"] not in (UNTRAINED, STARTING):
            percent = share_closed(own, below, above)  # type: ignore[arg-type]
        share = {} if percent is None else {GAP: {"percent": percent, "judge": judge}}
        found.append({**run, **share})
    return found


def _top1(run: Mapping[str, Any], judge: str) -> float | None:
    return (run.get(judge) or {}).get("top1")
