from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_comparison import make_comparison

from solo_rekd.compare.report.summary import MISSING, list_arms
from solo_rekd.compare.report.table import columns, table_lines, time_unit

LONG = "rekd+teacher_mode=online+dictionary=teacher+own_weight=0.8"


@pytest.fixture
def comparison(tmp_path: Path) -> dict[str, Any]:
    return make_comparison(tmp_path, ["mocov2plus", LONG], seeds=(0, 1))


def test_the_terminal_has_a_line_an_arm_then_the_teacher_and_the_protocols(
    comparison: dict[str, Any],
) -> None:
    comparison["runs"] = comparison["runs"][:3]
    heading, plain, distilling, teacher, *protocols = table_lines(comparison)
    assert len({len(line) for line in (heading, plain, distilling, teacher)}) == 1
    linear = [run["linear_host"]["top1"] for run in comparison["runs"]]
    assert plain.startswith("mocov2plus ")
    assert f"{np.mean(linear[:2]):.2f} ± {np.std(linear[:2], ddof=1):.2f}" in plain
    assert distilling.startswith(f"{LONG}  ")
    assert distilling.split()[1:3] == ["1", f"{linear[2]:.2f}"]
    assert teacher.split()[2] == f"{comparison['teacher']['linear_host']['top1']:.2f}"
    assert protocols == [
        comparison["runs"][0][stage]["protocol"]
        for stage in ("linear_host", "linear_cached", "knn", "few_label", "few_label_1pct")
    ]


def test_without_runs_every_figure_is_a_dash(comparison: dict[str, Any]) -> None:
    lines = table_lines(comparison | {"runs": [], "teacher": None})
    assert [line.split() for line in lines[1:]] == [
        [arm["name"], "0", *[MISSING] * 7] for arm in comparison["arms"]
    ]


def test_runs_from_before_the_few_labels_have_a_dash_there(comparison: dict[str, Any]) -> None:
    few = [column for column in columns(comparison) if "few labels" in column.group]
    arm = list_arms(comparison)[0]
    values = [run["few_label"]["top1"] for run in arm.runs]
    assert [column.heading.split(":")[0] for column in few] == ["3 per class", "1 %"]
    assert few[0].text(arm).startswith(f"{np.mean(values):.2f} ± ")
    for run in comparison["runs"]:
        del run["few_label"], run["few_label_1pct"]
    assert [column.text(list_arms(comparison)[0]) for column in few] == [MISSING, MISSING]
    assert not any("few labels" in line for line in table_lines(comparison))


def test_gpu_memory_has_a_column_only_where_it_was_measured(comparison: dict[str, Any]) -> None:
    def gpu() -> list[str]:
        found = [column for column in columns(comparison) if "GPU" in column.heading]
        return [column.text(arm) for column in found for arm in list_arms(comparison)]

    assert gpu() == []
    comparison["runs"][0]["pretrain"]["peak_gpu_bytes"] = 3 * 2**30
    assert gpu() == ["3.00", MISSING]


def test_knn_says_k_and_temperature(comparison: dict[str, Any]) -> None:
    assert "kNN (k = 20, T = 0.07)" in {column.group for column in columns(comparison)}


@pytest.mark.parametrize(
    ("seconds", "unit"), [(119, ("s", 1)), (120, ("min", 60)), (7200, ("h", 3600))]
)
def test_times_have_a_unit_that_suits_them(seconds: float, unit: tuple[str, float]) -> None:
    assert time_unit(seconds) == unit
