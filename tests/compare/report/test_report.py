import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from synthetic_comparison import make_comparison

from solo_rekd.compare.report import write_report

NAMES = {"report.html", "results.csv", "comparison.json"}


@pytest.fixture
def comparison(tmp_path: Path) -> dict[str, Any]:
    return make_comparison(tmp_path, ["simclr", "rekd"], seeds=(0, 1), epochs=3)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"runs"}


def test_json_is_the_comparison_without_nan(comparison: dict[str, Any], tmp_path: Path) -> None:
    comparison["runs"][0]["knn"]["top1"] = math.nan
    comparison["runs"][1]["history"][0]["train_acc1"] = math.inf
    write_report(comparison, tmp_path)

    def forbid(constant: str) -> None:
        raise AssertionError(constant)

    written = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=forbid)
    assert written["runs"][0]["knn"]["top1"] is None
    assert math.isnan(comparison["runs"][0]["knn"]["top1"])
    comparison["runs"][0]["knn"]["top1"] = None
    comparison["runs"][1]["history"][0]["train_acc1"] = None
    assert written == comparison


def test_csv_has_a_row_a_run_with_all_its_figures(
    comparison: dict[str, Any], tmp_path: Path
) -> None:
    write_report(comparison, tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        *[("teacher", "0"), ("simclr", "0"), ("simclr", "1"), ("rekd", "0"), ("rekd", "1")]
    ]
    run = comparison["runs"][2]
    for stage, name in [("linear_host", "top5"), ("knn", "k"), ("pretrain", "peak_memory_bytes")]:
        assert float(rows[3][f"{stage}.{name}"]) == run[stage][name]
    last = run["history"][-1]["train_relation_purity"]
    assert float(rows[3]["last_epoch.train_relation_purity"]) == last
    assert rows[1]["last_epoch.train_relation_purity"] == ""
    assert rows[3]["folder"] == "runs/rekd/seed-0"


def test_without_a_run_there_are_still_three_files(
    comparison: dict[str, Any], tmp_path: Path
) -> None:
    write_report(comparison | {"runs": [], "teacher": None}, tmp_path)
    assert files(tmp_path) == NAMES
    assert (tmp_path / "results.csv").read_text() == "arm,seed,folder\n"


def test_a_report_that_cannot_be_made_leaves_the_last_one(
    comparison: dict[str, Any], tmp_path: Path
) -> None:
    write_report(comparison, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    comparison["runs"].clear()
    del comparison["protocol"]
    with pytest.raises(Exception, match="protocol"):
        write_report(comparison, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_file_that_cannot_be_replaced_leaves_nothing_half_written(
    comparison: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(IsADirectoryError):
        write_report(comparison, tmp_path)
    assert files(tmp_path) == {"report.html"}
