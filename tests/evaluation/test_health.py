"""The judgement of made-up histories; tests/hosts/*/test_signal.py judge real trainings."""

import math
from typing import Any

import pytest

from solo_rekd.evaluation.health import COLLAPSED, DIVERGED, FAR, NOTHING, judge

Lines = list[dict[str, Any]]

CONSTANT = {"agreement_chance": 0.01, "agreement_ceiling": 0.7, "agreement_error": 0.005}


def history(**figures: list[float]) -> Lines:
    """A healthy history of four epochs with other figures; the first is of the untrained student.

    One of epochs alone (`loss`, `loss_floor`) has one number less.
    """
    healthy: dict[str, list[float]] = {
        "agreement": [0.10, 0.2, 0.3, 0.38, 0.42],
        "effective_rank": [8, 20, 40, 60, 70],
        "feature_deviation": [0.3, 0.5, 0.6, 0.7, 0.7],
        "loss": [6, 5, 4, 3.5],
        "loss_floor": [2, 2, 2, 2],
    }
    lines: Lines = [CONSTANT | {"epoch": epoch} for epoch in range(-1, 4)]
    for name, values in (healthy | figures).items():
        for line, value in zip(lines[5 - len(values) :], values, strict=True):
            line[name] = value
    return lines


def kinds(lines: Lines, **more: Any) -> list[str]:
    return [finding.kind for finding in judge(lines, **more)]


def test_a_healthy_training_has_no_finding() -> None:
    for number in range(6):
        assert kinds(history()[:number], finished=False) == []
    assert kinds(history()) == []


@pytest.mark.parametrize(
    ("figures", "kind"),
    [
        ({"effective_rank": [8, 5, 2, 1.2, 1.05]}, COLLAPSED),
        ({"feature_deviation": [0.3, 0.1, 0.02, 0.001, 0.001]}, COLLAPSED),
        ({"loss": [6, 5, math.nan, math.nan]}, DIVERGED),
        ({"loss": [6, math.inf, 5, 4]}, DIVERGED),
        ({"effective_rank": [8, 5, 2, 3, math.nan]}, DIVERGED),
        ({"agreement": [0.1] * 5, "loss": [6, 8, 9, 9]}, DIVERGED),
        ({"agreement": [0.02, 0.02, 0.01, 0.015, 0.019]}, NOTHING),
        ({"agreement": [0.10, 0.11, 0.105, 0.1, 0.112]}, NOTHING),
        ({"agreement": [0.10, 0.1, 0.09, 0.08, 0.07]}, NOTHING),
        ({"loss": [6, 5.8, 5.7, 5.6], "agreement": [0.1, 0.12, 0.13, 0.14, 0.15]}, FAR),
    ],
)
def test_what_is_wrong_is_named(figures: dict[str, list[float]], kind: str) -> None:
    (finding,) = judge(history(**figures))
    assert finding.kind == kind
    assert "Try" in finding.message
    assert "\n" not in finding.message


def test_a_student_that_agrees_with_its_teacher_is_not_blamed_for_its_loss() -> None:
    agreement = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert kinds(history(loss=[6, 5.8, 5.7, 5.6], agreement=agreement)) == []
    assert kinds(history(loss=[6, 8, 9, 9], agreement=agreement)) == []


def test_a_negative_loss_is_judged_above_its_floor() -> None:
    figures = {"loss_floor": [-2.0] * 4, "agreement": [0.1, 0.12, 0.13, 0.14, 0.15]}
    assert kinds(history(loss=[-0.5, -1, -1.5, -1.8], **figures)) == []
    assert kinds(history(loss=[-0.5, -0.6, -0.7, -0.8], **figures)) == [FAR]


def test_a_training_that_still_runs_has_time_to_begin() -> None:
    nothing = history(agreement=[0.1] * 5)
    assert kinds(nothing[:2]) == [NOTHING]
    assert kinds(nothing[:3], finished=False) == []
    assert kinds(nothing[:4], finished=False) == [NOTHING]
    collapsed = history(effective_rank=[8, 1.01, 1, 1, 1])
    assert kinds(collapsed[:3], finished=False) == []
    assert kinds(collapsed[:4], finished=False) == kinds(collapsed[:3]) == [COLLAPSED]
    assert kinds(history(loss=[math.nan] * 4)[:2], finished=False) == [DIVERGED]


def test_a_history_without_a_teacher_or_without_a_signal_is_judged_by_what_it_has() -> None:
    figures = ("effective_rank", "feature_deviation", "loss", "epoch")
    alone = [{name: line[name] for name in figures if name in line} for line in history()]
    assert kinds(alone) == []
    alone[-1]["effective_rank"] = 1.01
    assert kinds(alone) == [COLLAPSED]
    assert kinds([{"epoch": 0, "seconds": 1.0}, {"epoch": 1, "seconds": 1.0}]) == []


@pytest.mark.parametrize("missing", ["agreement_error", "agreement_chance", "agreement_ceiling"])
def test_a_missing_figure_is_no_crash(missing: str) -> None:
    lines = [{k: v for k, v in line.items() if k != missing} for line in history()]
    assert kinds(lines) == []
