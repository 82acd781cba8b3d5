"""Each arm's own learning rate: that of its sweep with the best mean of linear and kNN."""

from collections.abc import Mapping, Sequence

from study.plan import Plan
from study.rows import Row

HIGHEST = 10.0


def best_rate(
    plan: Plan, rows: Sequence[Row], dataset: str, student: str, arm: str, teacher: str
) -> str | None:
    """The learning rate of an arm, as the sweep has it.

    Args:
        plan: the study.
        rows: of the sweeps.
        dataset: what is trained on; its `rates_as`, like the student's and the arm's, is followed.
        student: what is trained.
        arm: by which arm.
        teacher: by which teacher, where the arm has one.

    Returns:
        The rate; an empty text where the arm needs none; None where its sweep is not whole.
    """
    swept = plan.arms[plan.arms[arm].rates_as]
    if not swept.rates:
        return ""
    where = plan.rates_of("datasets", dataset), plan.rates_of("students", student)
    found = found_rates(rows, *where, swept.name, teacher)
    asked = asked_rates(swept.rates, found)
    if not set(asked) <= set(found):
        return None
    return max(asked, key=lambda rate: found[rate])


def found_rates(
    rows: Sequence[Row], dataset: str, student: str, arm: str, teacher: str
) -> dict[str, float]:
    """The sum of linear and kNN by learning rate, of an arm's own sweep."""
    found = {}
    for row in rows:
        place = row["dataset"], row["student"], row["arm"], row["seed"]
        if place == (dataset, student, arm, "0") and row["teacher"] in ("", teacher):
            found[row["lr"]] = float(row["linear_cached"]) + float(row["knn"])
    return found


def asked_rates(rates: Sequence[float], found: Mapping[str, float]) -> list[str]:
    """The learning rates of a sweep: more than the first ones while the best is at an end.

    Args:
        rates: the first ones, half a decade apart (0.01, 0.03, 0.1); a single one is enough.
        found: what came of those that have run.

    Returns:
        All in rising order, at most `HIGHEST`; those that `found` does not have are to be run.
    """
    asked = sorted(rates)
    while len(asked) > 1 and all(f"{rate:g}" in found for rate in asked):
        best = max(asked, key=lambda rate: found[f"{rate:g}"])
        if best == asked[0]:
            asked.insert(0, asked[1] / 10)
        elif best == asked[-1] and 10 * asked[-2] <= HIGHEST:
            asked.append(10 * asked[-2])
        else:
            break
    return [f"{rate:g}" for rate in asked]
