"""One, two and four processes train the same: scripts/reliability/agreement.py."""

import argparse
import csv
from pathlib import Path

import pytest
from reliability import agreement

CLOSE = 1e-6
KEPT = Path(__file__).parents[2] / "docs/results/reliability-agreement.csv"
STEPS = 11  # two epochs, so two uneven batches, after which all queues are full


def assert_agree(cases: list[str], processes: int, folder: Path) -> None:
    alone = agreement.train_in_processes(1, cases, folder, STEPS)
    found = agreement.train_in_processes(processes, cases, folder, STEPS, start="fork")
    for case in cases:
        assert len(found[case]) == processes
        for each in found[case]:
            worst = agreement.differences(alone[case][0], each)
            assert max(worst.values()) < CLOSE, (case, worst)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    assert_agree(["coss", "crcd labels"], 2, tmp_path)


@pytest.mark.trial
def test_every_objective_trains_in_four_processes_as_in_one(tmp_path: Path) -> None:
    assert_agree([*agreement.CASES], 4, tmp_path)


def test_all_objectives_are_among_the_cases() -> None:
    from solo_rekd.objectives import OBJECTIVES

    assert {case.split()[0] for case in agreement.CASES} == {*OBJECTIVES}


def test_what_is_kept_agrees_over_200_steps() -> None:
    with KEPT.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dtype"] == "float64"]
    assert [(row["case"], row["processes"]) for row in rows] == [
        (row["case"], number) for row in rows[::2] for number in ("2", "4")
    ]
    assert {row["case"] for row in rows} == {*agreement.CASES}
    for row in rows:
        worst = max(float(row[name]) for name in ("loss", "gradient", "state"))
        assert (row["steps"], worst < CLOSE) == ("200", True), row


def test_a_difference_is_seen(tmp_path: Path) -> None:
    one, other = (agreement.train("seed", tmp_path, steps) for steps in (2, 2))
    assert set(agreement.differences(one, other).values()) == {0.0}
    other["gradients"][1, 3] += 1e-5
    assert agreement.differences(one, other)["gradient"] == pytest.approx(1e-5)
    other["state"]["objective.distillation.queues.0.teacher"][0] += 1
    assert agreement.differences(one, other)["state"] == pytest.approx(1)


@pytest.mark.trial
def test_the_part_writes_what_its_file_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    parser = argparse.ArgumentParser()
    agreement.add_arguments(parser)
    words = ["--steps", "2", "--cases", "seed", "--types", "float32"]
    args = parser.parse_args(["--results", str(out), *words])
    assert agreement.run(args) == 0
    rows = [*csv.DictReader(out.open(newline=""))]
    assert [(row["dtype"], row["processes"]) for row in rows] == [
        ("float32", "2"),
        ("float32", "4"),
    ]
    assert all(float(row["loss"]) < 1e-5 for row in rows)
    content = out.read_text()
    monkeypatch.setattr(agreement, "train_in_processes", None)
    assert agreement.run(args) == 0  # nothing is lacking
    assert out.read_text() == content
