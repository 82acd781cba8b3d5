"""What the lines of an arm say together: means over seeds, differences seed by seed, shares."""

from collections.abc import Mapping, Sequence

from solo_rekd.compare.judge import share_closed
from solo_rekd.compare.report.summary import Difference
from study.rows import TEACHER, Row

NOT_RUN = "not run"
UNTRAINED = "untrained"


def runs_of(rows: Sequence[Row], dataset: str, student: str, arm: str, teacher: str) -> list[Row]:
    """The runs of an arm, one a seed.

    Raises:
        SystemExit: they are not all of one setting, so that no mean of them means anything.
    """
    where = dataset, student, arm
    found = [row for row in rows if (row["dataset"], row["student"], row["arm"]) == where]
    found = [row for row in found if row["teacher"] in ("", teacher)]
    settings = {(row["epochs"], row["lr"], row["teacher_size"]) for row in found}
    if len(settings) > 1:
        raise SystemExit(
            f"{' '.join(where)}: runs of several epochs, learning rates or teacher's sizes, "
            f"{sorted(settings)}: keep the lines of one"
        )
    return found


def by_seed(runs: Sequence[Row], figure: str) -> dict[int, float]:
    """A figure of an arm's runs by seed, where they have it."""
    return {int(row["seed"]): float(row[figure]) for row in runs if row[figure]}


def gap_closed(
    student: Mapping[int, float], untrained: Mapping[int, float], teacher: float | None
) -> float | None:
    """Share of the way from the untrained student to the teacher, in percent, mean over seeds.

    Args:
        student: a figure of the trained one, by seed.
        untrained: of the untrained one, by seed.
        teacher: of the teacher.

    Returns:
        0 for the untrained student, 100 for the teacher; None where a figure is missing, or the
        teacher is not above the untrained student.
    """
    shared = [seed for seed in student if seed in untrained]
    if teacher is None or not shared:
        return None
    shares = [share_closed(student[seed], untrained[seed], teacher) for seed in shared]
    found = [share for share in shares if share is not None]
    return sum(found) / len(found) if len(found) == len(shares) else None


def teachers_figure(
    rows: Sequence[Row], dataset: str, student: str, teacher: str, figure: str
) -> float | None:
    """A figure of the teacher as the comparison with this student has judged it."""
    return by_seed(runs_of(rows, dataset, student, TEACHER, teacher), figure).get(0)


def signed(found: Difference | None) -> str:
    """A difference with its interval: "+1.20 [+0.40, +2.00]"; alone for a single seed."""
    if found is None:
        return ""
    if found.low is None:
        return f"{found.mean:+.2f}"
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
