"""The share of the way from the untrained student to the teacher."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solo_rekd.compare.judge import JUDGES, share_closed, with_gap_closed
from solo_rekd.compare.options import make_parser


def run(arm: str, seed: int, **top1: float | None) -> dict[str, Any]:
    return {"arm": arm, "seed": seed} | {name: {"top1": value} for name, value in top1.items()}


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_the_share_is_where_the_student_lies_on_the_way(
    student: float, untrained: float, teacher: float
) -> None:
    share = share_closed(student, untrained, teacher)
    if teacher <= untrained:
        assert share is None
    else:
        assert share is not None
        reached = untrained + share / 100 * (teacher - untrained)
        assert reached == pytest.approx(student, abs=1e-9)


def test_each_run_is_set_against_the_untrained_student_of_its_seed() -> None:
    teacher = run("teacher", 0, knn=90)
    runs = [run("untrained", 0, knn=40), run("untrained", 1, knn=50)]
    runs += [run("rekd", 0, knn=80), run("rekd", 1, knn=80), run("simclr", 0, knn=30)]
    found = with_gap_closed(runs, teacher, "knn")
    assert [each.get("gap_closed") for each in found] == [
        None,
        None,
        {"percent": pytest.approx(80), "judge": "knn"},
        {"percent": pytest.approx(75), "judge": "knn"},
        {"percent": pytest.approx(-20), "judge": "knn"},
    ]
    assert all("gap_closed" not in each for each in runs)  # nothing given is changed


@pytest.mark.parametrize(
    ("runs", "teacher"),
    [
        ([run("rekd", 0, knn=80)], run("teacher", 0, knn=90)),
        ([run("untrained", 1, knn=40), run("rekd", 0, knn=80)], run("teacher", 0, knn=90)),
        ([run("untrained", 0, knn=40), run("rekd", 0, knn=80)], None),
        ([run("untrained", 0, knn=40), run("rekd", 0, knn=80)], run("teacher", 0, knn=40)),
        ([run("untrained", 0, knn=40), run("rekd", 0, knn=None)], run("teacher", 0, knn=90)),
        ([run("untrained", 0, knn=40), run("rekd", 0)], run("teacher", 0, knn=90)),
    ],
)
def test_without_an_end_of_the_way_there_is_no_share(
    runs: list[dict[str, Any]], teacher: dict[str, Any] | None
) -> None:
    assert all("gap_closed" not in each for each in with_gap_closed(runs, teacher, "knn"))


def test_every_judge_is_an_accuracy_that_a_comparison_may_name() -> None:
    for name in JUDGES:
        words = ["--data", "images", "--out", "out", "--judge_by", name]
        assert make_parser().parse_args(words).judge_by == name
