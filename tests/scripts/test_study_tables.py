"""Tests the tables and figures of docs/benchmarks.md: they come from the CSV files alone."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.page import find_place
from scipy import stats
from study import overview, rows, tables
from study.figures import gap_closed, runs_of, signed
from study.pictures import numbers_of, picture_of, write_pictures
from study.plan import Plan, read_plan
from study_rows import make_row

from solo_rekd.compare.report.summary import difference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEACHER = {"arm": "teacher", "lr": "", "linear_cached": 70.0, "knn": 70.0}
UNTRAINED = {"arm": "untrained", "lr": "", "teacher": "", "teacher_size": ""}


@pytest.fixture
def plan() -> Plan:
    return read_plan()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in (tables.PAGE, tables.FULL_PAGE):
        shutil.copy(DOCS / name, folder / name)
    return folder


def test_differences_are_of_the_same_seeds_with_an_interval_by_student() -> None:
    ours, theirs = {0: 50.0, 1: 53.0, 2: 52.0, 4: 99.0}, {0: 49.0, 1: 50.0, 2: 50.0, 3: 1.0}
    found = difference(ours, theirs)
    assert found is not None and found.seeds == 3
    low, high = stats.ttest_rel([50.0, 53.0, 52.0], [49.0, 50.0, 50.0]).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))
    assert signed(found) == f"+2.00 [{low:+.2f}, {high:+.2f}]"
    assert signed(difference({0: 1.0}, {0: 2.5})) == "-1.50"
    assert signed(difference({0: 1.0}, {1: 2.5})) == ""


def test_the_gap_to_the_teacher_is_closed_from_0_to_100() -> None:
    untrained = {0: 40.0, 1: 42.0}
    assert gap_closed(untrained, untrained, 70.0) == 0
    assert gap_closed({0: 70.0, 1: 70.0}, untrained, 70.0) == pytest.approx(100)
    assert gap_closed({0: 55.0, 1: 49.0, 9: 0.0}, untrained, 70.0) == pytest.approx(37.5)
    assert gap_closed({0: 55.0}, untrained, None) is None
    assert gap_closed({0: 55.0}, {}, 70.0) is None
    assert gap_closed({0: 55.0}, untrained, 40.0) is None


def test_tables_show_the_lines_and_are_the_same_when_written_again(
    plan: Plan, docs: Path, tmp_path: Path
) -> None:
    results, first = tmp_path / "results", plan.tables["first"][0][0]
    found = [make_row(arm="seed", seed=seed, linear_cached=51.0 + seed) for seed in range(3)]
    found += [make_row(arm=first, seed=seed, linear_cached=53.0 + seed) for seed in range(3)]
    found += [make_row(seed=seed, linear_cached=40.0, **UNTRAINED) for seed in range(3)]
    rows.add_rows(results / "test.csv", [*found, make_row(**TEACHER)])
    swept = [make_row(arm="seed", lr=lr, knn=knn) for lr, knn in ((0.01, 1), (0.03, 9), (0.1, 2))]
    rows.add_rows(results / "rates.csv", swept)
    head = "dataset,student,form,seed,epochs,linear_cached,knn,purity,minutes".split(",")
    with (results / "search.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for seed, purity in enumerate(("0.5", "")):
            row = ["cifar10", "alexnet", "relation=soft", seed, 8, 54 + seed, 51, purity, 3]
            writer.writerow(row)
            control = ["cifar10", "alexnet", "own=1", seed, 8, 52 + 2 * seed, 50, "0", 3]
            writer.writerow(control)

    def write() -> dict[str, bytes]:
        tables.write_tables(plan, results, docs)
        write_pictures(plan, rows.read_rows(results / "test.csv"), docs)
        return {path.name: path.read_bytes() for path in docs.iterdir()}

    written = write()
    assert write() == written
    assert set(written) == {tables.PAGE, tables.FULL_PAGE, "benchmarks-cifar10.svg"}
    assert described(docs / "benchmarks-cifar10.svg")
    page, full = (written[name].decode() for name in (tables.PAGE, tables.FULL_PAGE))
    assert "| `seed` | 52.0 / 45.0 | not run | not run | not run |" in page
    assert "| `seed` | 0.01: 50.00 / 1.00; **0.03: 50.00 / 9.00**; 0.1: 50.00 / 2.00 |" in page
    tried = "| cifar10 | alexnet | 8 | `relation=soft` | 2 | 54.50 ± 0.71 | +1.50 [-4.85, +7.85] |"
    assert f"{tried} 51.00 ± 0.00 | +1.00 [+1.00, +1.00] | 0.50 | 3.0 |" in page
    assert (
        "| cifar10 | alexnet | 8 | `own=1` | 2 | 53.00 ± 1.41 |  | 50.00 ± 0.00 |  |  | 3.0 |"
        in page
    )
    line = next(line for line in full.splitlines() if line.startswith("| `seed` "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["0.03", "3", "52.00 ± 1.00", "-2.00 [-2.00, -2.00]"]
    assert cells[-3:] == ["40 %", "0 %" if "45.00" in cells[5] else "", "3.0"]
    assert "(benchmarks-cifar10.svg)" in page and "(benchmarks-clothing.svg)" not in page
    assert "| `crcd` | not run |" in full
    (results / "test.csv").unlink()
    assert "52.0 / 45.0" not in write()[tables.PAGE].decode()


def test_gains_are_of_the_same_seeds_and_bold_where_they_are_clear_of_0(plan: Plan) -> None:
    lines = [make_row(seed=seed, linear_cached=54.0 + seed, knn=50.0) for seed in range(3)]
    for seed, linear in enumerate((50.0, 51.1, 52.1)):
        lines.append(make_row(arm="seed", seed=seed, linear_cached=linear, knn=50 + (-1) ** seed))
    found = tables.gains(plan, lines)
    (line,) = [line for line in found.splitlines() if line.startswith("| `seed`")]
    linear, knn = (cell.strip() for cell in line.split("|")[2].split("/"))
    low, high = stats.ttest_rel([54.0, 55.0, 56.0], [50.0, 51.1, 52.1]).confidence_interval()
    assert linear == f"**+3.93 [{low:+.2f}, {high:+.2f}]**"
    assert knn.startswith("-0.33 [") and "not run" in line
    assert "| `rekd` |" not in found and "clothing" not in found
    assert tables.gains(plan, []) == "not run"


def test_a_data_set_has_the_students_and_teachers_that_it_names(plan: Plan) -> None:
    students = {data: names for data, _, names in plan.places()}
    assert students["cifar10"] == plan.names("students")
    assert students["cifar10-long"] == ["alexnet"]


def test_runs_of_several_settings_have_no_mean() -> None:
    for other in ({"lr": 0.1}, {"epochs": 9}, {"teacher_size": 64}):
        mixed = [make_row(), make_row(seed=1, **other)]
        with pytest.raises(SystemExit, match="several epochs"):
            runs_of(mixed, "cifar10", "alexnet", "rekd", "lite0")
    assert len(runs_of([make_row(), make_row(teacher="b")], "cifar10", "alexnet", "rekd", "b")) == 1


def test_the_pages_are_those_of_the_results(plan: Plan, docs: Path) -> None:
    """Fails where a line of docs/results has changed and `make tables` was not run."""
    for page in (overview.CHOICE, overview.EARLIER, overview.PUBLISHED, overview.PERFORMANCE):
        shutil.copy(DOCS / page, docs / page)
    shutil.copy(ROOT / overview.README, docs.parent)
    folder = ["--docs", str(docs)]
    program = [sys.executable, "-m", "study", "tables", *folder]
    subprocess.run(program, cwd=ROOT / "scripts", check=True)
    for name in (tables.PAGE, tables.FULL_PAGE):
        assert (docs / name).read_text() == (DOCS / name).read_text(), "run `make tables`"
    tested = rows.read_rows(rows.RESULTS / "test.csv")
    for dataset in plan.names("datasets"):
        drawn, picture = numbers_of(plan, tested, dataset), picture_of(dataset)
        assert bool(drawn) == (DOCS / picture).exists(), "run `make tables`"
        if drawn:
            assert described(docs / picture) == described(DOCS / picture), "run `make tables`"


def described(picture: Path) -> str:
    """The digest of the numbers, which an SVG of another matplotlib has too."""
    return picture.read_text().partition("<dc:description>")[2].partition("</dc:description>")[0]


def test_every_table_of_the_plan_has_a_place(plan: Plan) -> None:
    for name in (*plan.tables, "rates", "search", "gains"):
        find_place(DOCS / tables.PAGE, name)


@pytest.mark.parametrize(
    ("form", "control"),
    [
        ("relation=soft+reach=data+lr=0.1", "own=1+lr=0.1"),
        ("own=1", "own=1"),
        ("relation=groups+groups=300+own=0.2", "own=1"),
        ("relation=soft+target=soft", "own=1+target=soft"),
    ],
)
def test_the_control_of_a_form_has_no_relation_and_all_else(form: str, control: str) -> None:
    assert tables.control_of(form) == control
