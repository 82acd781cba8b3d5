"""The trials of precision: a short real run, that it resumes, and the page that it writes."""

import argparse
from pathlib import Path

import pytest
from bench.page import find_place
from reliability import numerics
from reliability.numerics_cases import CASES
from reliability.rows import read_rows

from solo_rekd.objectives import OBJECTIVES


def run(results: Path, *given: str) -> int:
    parser = argparse.ArgumentParser()
    numerics.add_arguments(parser)
    page = results.with_suffix(".md")
    page.write_text("<!-- bench:numerics -->\n<!-- /bench:numerics -->\n")
    args = ["--results", str(results), "--page", str(page), *given]
    return numerics.run(parser.parse_args(args))


def test_every_objective_is_a_case() -> None:
    assert {method for method, _ in CASES.values()} == {*OBJECTIVES}


@pytest.mark.trial
def test_every_case_stays_finite_in_every_precision(tmp_path: Path) -> None:
    results = tmp_path / "rows.csv"
    assert run(results, "--steps", "10") == 0
    rows = read_rows(results)
    assert [(row["case"], row["precision"]) for row in rows] == [
        (case, precision) for case in CASES for precision in numerics.PRECISIONS
    ]
    for row in rows:
        assert row["finite"] == "yes" and row["said"] == "0"
        # within the rounding of a step; what float16 skips at first shifts its curve
        if row["precision"] == "32":
            assert float(row["curve_distance"]) == 0
        if row["precision"] == "bf16":
            assert float(row["curve_distance"]) < 0.02


@pytest.mark.slow
def test_fifty_steps_fall_alike_and_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "rows.csv"
    assert run(results, "--steps", "50", "--cases", "seed") == 0
    rows = read_rows(results)
    assert int(rows[2]["skipped_steps"]) < 10
    table = results.with_suffix(".md").read_text()
    assert "| seed |" in table and "not finite" not in table
    monkeypatch.setattr(numerics, "trials", lambda *args: pytest.fail("it ran again"))
    assert run(results, "--steps", "50", "--cases", "seed") == 0
    lost = results.read_text().replace(",yes,", ",no,", 1)
    results.write_text(lost)
    assert run(results, "--steps", "50", "--cases", "seed") == 1
    assert "not finite" in results.with_suffix(".md").read_text()


def test_the_page_has_the_table_of_the_results() -> None:
    begin, end = find_place(numerics.PAGE, numerics.PLACE)
    shown = numerics.PAGE.read_text(encoding="utf-8")[begin:end]
    assert shown.strip() == numerics.numbers(read_rows(numerics.FILE)).strip()
