"""Each arm's own learning rate: that of its sweep with the best mean of linear and kNN."""

from collections.abc import Sequence

from study.plan import Plan
from study.rows import Row


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
    where = plan.rates_of("datasets", dataset), plan.rates_of("students", student), swept.name
    found = {}
    for row in rows:
        place = row["dataset"], row["student"], row["arm"]
        if place == where and row["teacher"] in ("", teacher) and row["seed"] == "0":
            found[row["lr"]] = float(row["linear_cached"]) + float(row["knn"])
    asked = [f"{rate:g}" for rate in swept.rates]
    if not set(asked) <= set(found):
        return None
    return max(asked, key=lambda rate: found[rate])
