import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic_comparison import make_comparison

from solo_rekd.compare.report.summary import (
    curve,
    distinct,
    figure,
    list_arms,
    paired,
    spread,
    teacher_arm,
)


@pytest.fixture
def comparison(tmp_path: Path) -> dict[str, Any]:
    return make_comparison(tmp_path, ["mocov2plus", "rekd+own_weight=0.5"], seeds=(0, 1, 4))


def test_mean_and_sample_standard_deviation() -> None:
    values = [70.0, 71.5, 74.0]
    found = spread(values)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.text() == f"{np.mean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert (
        found.over(10).text(3) == f"{np.mean(values) / 10:.3f} ± {np.std(values, ddof=1) / 10:.3f}"
    )


def test_one_value_has_no_spread_and_none_has_no_summary() -> None:
    found = spread([None, 12.345, None])
    assert found is not None
    assert (found.mean, found.sd, found.values, found.text(1)) == (12.345, None, (12.345,), "12.3")
    assert spread([None, None]) is None
    assert spread([]) is None


@pytest.mark.parametrize(
    ("path", "value"), [("a.b", 1), ("a.c", None), ("n.b", None), ("x.y.z", None)]
)
def test_a_missing_figure_is_none(path: str, value: object) -> None:
    assert figure({"a": {"b": 1}, "n": None}, path) == value


def test_arms_hold_their_own_runs_and_know_whether_they_distil(comparison: dict[str, Any]) -> None:
    plain, distilling = list_arms(comparison)
    assert (plain.distils, distilling.distils) == (False, True)
    for arm in (plain, distilling):
        expected = [
            run["knn"]["top1"]
            for run in comparison["runs"]
            if run["folder"].split("/")[1] == arm.name
        ]
        found = arm.spread("knn.top1")
        assert found is not None and found.values == tuple(expected)
        assert arm.by_seed("knn.top1") == dict(zip((0, 1, 4), expected, strict=True))


def test_the_teacher_is_an_arm_of_one_run(comparison: dict[str, Any]) -> None:
    teacher = teacher_arm(comparison)
    assert teacher is not None and teacher.runs == (comparison["teacher"],)
    assert teacher_arm(comparison | {"teacher": None}) is None


def test_a_curve_is_the_mean_over_seeds_by_epoch(comparison: dict[str, Any]) -> None:
    arm = list_arms(comparison)[1]
    found = curve(arm, "train_relation_purity")
    table = np.array(
        [[line["train_relation_purity"] for line in run["history"]] for run in arm.runs]
    )
    assert list(found) == list(range(1, table.shape[1] + 1))
    assert np.allclose([each.mean for each in found.values()], table.mean(axis=0))
    assert np.allclose([min(each.values) for each in found.values()], table.min(axis=0))
    assert curve(arm, "val_acc1") == {}


def test_a_curve_takes_those_seeds_that_have_the_epoch(comparison: dict[str, Any]) -> None:
    arm = list_arms(comparison)[0]
    del arm.runs[0]["history"][1:]
    del arm.runs[1]["history"]
    arm.runs[2]["history"][0]["train_acc1"] = None
    found = curve(arm, "train_acc1")
    assert found[1].values == (arm.runs[0]["history"][0]["train_acc1"],)
    assert found[2].values == (arm.runs[2]["history"][1]["train_acc1"],)


def test_distinct_settings_come_once(comparison: dict[str, Any]) -> None:
    assert distinct(comparison, "knn.k") == [20]
    comparison["runs"][3]["knn"]["k"] = 200
    assert distinct(comparison, "knn.k") == [20, 200]


def test_a_paired_difference_and_its_interval(comparison: dict[str, Any]) -> None:
    moco, rekd = list_arms(comparison)
    ours, theirs = ([run["knn"]["top1"] for run in arm.runs] for arm in (rekd, moco))
    found, back = paired(rekd, moco, "knn.top1"), paired(moco, rekd, "knn.top1")
    assert found is not None and back is not None
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs)) == -back.mean
    assert found.text() == back.text() and found.ahead == back.behind


def test_one_seed_has_no_interval_and_none_no_difference(comparison: dict[str, Any]) -> None:
    moco, rekd = list_arms(comparison)
    one = list_arms(comparison | {"runs": [*moco.runs, rekd.runs[1]]})[1]
    found = paired(one, moco, "knn.top1")
    assert found is not None
    assert (found.low, found.high, found.seeds) == (None, None, 1)
    assert not found.ahead and not found.behind
    assert found.text() == f"{abs(found.mean):.2f} points"
    assert paired(one, moco, "knn.top9") is None
