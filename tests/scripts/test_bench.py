"""Tests `make bench` on tiny sizes, and what its figures rest on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bench import __main__ as program
from bench import cases, growth, sections, steps
from bench.exponents import exponent, last_exponent
from bench.floor import faster, make_floor
from bench.full_scale import device_hours, forwards
from bench.memory import peak_bytes
from bench.page import find_place, table, write_between
from bench.sections import REST, Sections
from bench.timing import in_turns

ROOT = Path(__file__).parents[2]
MIB = 2**20


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name in program.PAGES:
        shutil.copy(ROOT / "docs" / name, tmp_path / name)
    return tmp_path


def run(docs: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--docs", str(docs), *argv],
        cwd=ROOT / "scripts",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def read_tables(page: Path, name: str) -> list[list[list[str]]]:
    """The tables of a place: rows of cells, the first of them the heads."""
    begin, end = find_place(page, name)
    found: list[list[list[str]]] = [[]]
    for line in page.read_text()[begin:end].splitlines():
        if line.startswith("|"):
            if not set(line) <= set("|- "):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [rows for rows in found if rows]


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace(",", "")) for cell in cells]


@pytest.mark.trial
def test_steps_and_losses_become_tables_with_their_floors(docs: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    done = run(docs, "--parts", "steps", "losses")
    assert done.returncode == 0, done.stderr[-3000:]
    formats, rows, *shares = read_tables(docs / "performance.md", "steps")
    assert formats[0][1:] == ["default", "channels-last"]
    assert [row[0] for row in rows[1:]] == [str(cases.MOCO), str(cases.SEED)]
    assert all(min(numbers(row[1:])) > 0 for row in rows[1:])
    # the floor with a method's own parts is larger: both have projectors, and MoCo a twin
    assert all(float(row[3]) < float(row[2]) for row in rows[1:])
    for row in shares[0][1:] if shares else []:
        whole = next(float(other[2]) for other in rows if other[0] == row[0])
        assert sum(numbers(row[1:])) == pytest.approx(whole, rel=0.1)

    (losses,) = read_tables(docs / "performance.md", "losses")
    assert numbers(losses[1][1:])[1::2] == [1, 1]  # the host's own
    assert len(losses) == 9

    (cost,) = read_tables(docs / "full-scale.md", "cost")
    assert {head.partition(":")[0].partition(" on ")[0] for head in cost[0][1:]} == {
        "counted",
        "measured",
        "estimated",
    }
    kept = json.loads((docs / program.RESULTS).read_text())
    assert kept["steps"]["cpu"]["machine"]["torch"] == torch.__version__
    # the other parts' places are as they were
    begin, end = find_place(docs / "performance.md", "growth")
    theirs = find_place(ROOT / "docs" / "performance.md", "growth")
    assert end - begin == theirs[1] - theirs[0]


@pytest.mark.trial
def test_growth_becomes_a_table_for_each_quantity(docs: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    done = run(docs, "--parts", "growth")
    assert done.returncode == 0, done.stderr[-3000:]
    *series, miner = read_tables(docs / "performance.md", "growth")
    assert len(series) == 6
    assert all(rows[0][-2:] == ["exponent", "upper half"] for rows in series)
    assert all(0 < float(row[-1]) < 100 for row in miner[1:])
    assert [head for head in series[-1][0] if head.isdigit()] == ["1", "2"]  # processes


@pytest.mark.trial
def test_an_earlier_commit_is_measured_beside_this_one(docs: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    if subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True
    ).returncode:
        pytest.skip("this is no checkout of git")
    done = run(docs, "--parts", "parent", "--parent", "HEAD")
    assert done.returncode == 0, done.stderr[-3000:]
    ((_, row),) = read_tables(docs / "performance.md", "parent")
    shares = numbers(row[1:])
    assert min(shares) > 0
    results = json.loads((docs / "performance.json").read_text())["parent"]["cpu"]
    now, parent = (results["cases"][0]["rows"][0][version] for version in ("now", "parent"))
    assert shares[-1] == pytest.approx(now["seconds"] / parent["seconds"], abs=0.006)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--parts", "parent"], "--parent"),
        (["--parts", "compare"], "--parent"),
        (["--parts", "stepps"], "stepps"),
    ],
)
def test_a_mistake_is_named_before_anything_is_measured(
    docs: Path, argv: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--docs", str(docs), *argv])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err
    assert not (docs / program.RESULTS).exists()


@pytest.mark.parametrize("mark", ["<!-- bench:losses -->", "<!-- /bench:losses -->"])
def test_a_page_without_a_marker_stops_the_run(
    docs: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = docs / "performance.md"
    page.write_text(page.read_text().replace(mark, ""))
    monkeypatch.setattr(sys, "argv", ["bench", "--docs", str(docs), "--parts", "steps"])
    with pytest.raises(SystemExit, match="bench:losses"):
        program.main()
    assert not (docs / program.RESULTS).exists()


def test_the_pages_have_a_place_for_every_part() -> None:
    for part in program.PARTS:
        find_place(ROOT / "docs" / "performance.md", part)
    find_place(ROOT / "docs" / "full-scale.md", program.COST)


def test_a_text_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench:x -->\n<!-- /bench:x -->\nb\n")
    write_between(page, "x", r"first \1")
    write_between(page, "x", "second")
    assert page.read_text() == "a\n<!-- bench:x -->\nsecond\n<!-- /bench:x -->\nb\n"


def test_a_table_shows_numbers_in_a_form_to_read() -> None:
    text = table(["a", "b"], [["c", 1.234], [10_000, None], [0.00123, 1234.5]])
    assert text.splitlines()[2:] == ["| c | 1.23 |", "| 10,000 |  |", "| 0.001 | 1,234 |"]


def one_at_a_time() -> None:
    for _ in range(3):
        torch.empty(MIB)  # float32: 4 MiB


def both_at_once() -> None:
    first, second = torch.empty(MIB), torch.empty(MIB)
    del first, second
    torch.empty(MIB)


def inside_an_operation() -> None:
    torch.ones(1).expand(MIB).exp().sum()


@pytest.mark.parametrize(
    ("work", "peak"), [(one_at_a_time, 4), (both_at_once, 8), (inside_an_operation, 4)]
)
def test_the_peak_is_what_is_held_at_a_time(work: Callable[[], None], peak: int) -> None:
    assert peak_bytes(work) / MIB == pytest.approx(peak, abs=0.01)


def test_the_peak_counts_the_backward_pass() -> None:
    weight = torch.ones(MIB, requires_grad=True)
    weight.grad = torch.zeros(MIB)
    # the exponential is kept, and meets the gradient of the same size
    assert peak_bytes(lambda: weight.exp().sum().backward()) / MIB == pytest.approx(8, abs=0.01)


def test_an_exponent_is_that_of_the_power_law() -> None:
    sizes = [1, 2, 4, 8]
    assert exponent(sizes, [3 * size**2 for size in sizes]) == pytest.approx(2)
    sizes = [1, 10, 10**6, 10**7]
    floor = [100 + size for size in sizes]
    assert exponent(sizes, floor) < 0.9
    assert last_exponent(sizes, floor) == pytest.approx(1, abs=0.01)
    assert last_exponent([1, 2], [1, 2]) == pytest.approx(1)


@pytest.fixture
def call_from(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], None]]:
    """Makes a function of a file, in whose time only `wait` counts."""
    now = [0.0]
    monkeypatch.setattr(sections, "perf_counter", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    def make(path: str, source: str, **names: Callable[..., None]) -> Callable[[], None]:
        known: dict = {"wait": wait, **names}
        exec(compile(f"def work():\n    {source}", path, "exec"), known)
        return known["work"]

    return make


def test_time_is_of_the_section_whose_file_was_called_last(call_from: Callable) -> None:
    library = call_from("/lib/torch/nn/functional.py", "wait(3)")
    loss = call_from("/x/solo_rekd/losses/contrast.py", "wait(1)")
    objective = call_from(
        "/x/solo_rekd/objectives/seed.py", "loss(), library()", loss=loss, library=library
    )
    trainer = call_from("/lib/trainer.py", "objective(), wait(2)", objective=objective)
    with Sections() as watched:
        trainer()
    assert watched.seconds == {"loss": 1, "rest of the objective": 3, REST: 2}


def test_what_the_miner_calls_is_the_miners(call_from: Callable) -> None:
    loss = call_from("/x/solo_rekd/losses/contrast.py", "wait(1)")
    miner = call_from("/x/solo_rekd/modules/prototypes.py", "loss()", loss=loss)
    with Sections() as watched:
        miner()
    assert watched.seconds["miner"] == 1
    assert "loss" not in watched.seconds


def test_an_error_leaves_no_watch_behind() -> None:
    before = sys.getprofile()
    with pytest.raises(ValueError, match="lost"), Sections():
        raise ValueError("lost")
    assert sys.getprofile() is before


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        (cases.SIMCLR, "student heads"),
        (cases.MOCO, "student heads twin"),
        (cases.SEED, "student teacher heads"),
        (cases.SEED_IMAGE, "student heads"),
        (cases.COMPRESS_2Q, "student teacher twin"),
        (cases.REKD, "student teacher heads twin"),
        (cases.REKD_ONLINE, "student teacher heads twin online"),
    ],
    ids=str,
)
def test_a_floor_has_the_parts_that_its_method_needs(arm: cases.Arm, parts: str) -> None:
    formats = {"student": "default", "teacher": "channels-last"}
    floor = make_floor(cases.TINY, arm, formats, torch.device("cpu"))
    assert floor.run().keys() == set(parts.split())
    assert all(parameter.grad is not None for parameter in floor.student.parameters())


def test_a_ratio_is_the_median_of_steps_against_the_floors_beside_them() -> None:
    floors = [{"student": 1.0, "twin": 1.0}, {"student": 10.0, "twin": 10.0}]
    result = {"steps": [3.0, 30.0], "floors": floors, "sections": {"loss": 0.5, REST: 0.5}}
    row = steps.summary(cases.MOCO, [result])
    assert (row["ratio"], row["own_ratio"]) == (3.0, 1.5)
    text = steps.sections_table([row])
    assert text.splitlines()[-1] == f"| {cases.MOCO} | 1.50 | 1.50 |"


def test_the_faster_format_is_chosen_for_each_network() -> None:
    times = {
        "student": {"default": 2.0, "channels-last": 1.0},
        "teacher": {"default": 1.0, "channels-last": 2.0},
    }
    assert faster(times) == {"student": "channels-last", "teacher": "default"}


def test_work_takes_turns() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    assert in_turns(works, 2).keys() == {"a", "b"}
    assert order == [*"ababab"]


def test_a_series_leaves_empty_what_was_not_measured() -> None:
    points = [
        {"what": "a", "size": 1, "seconds": 1.0, "bytes": 2**20},
        {"what": "a", "size": 2, "seconds": 2.0, "bytes": 2**20},
        {"what": "b", "size": 2, "seconds": 3.0},
    ]
    rows = [re.split(r" ?\| ?", line)[1:-1] for line in growth.series_table(points).splitlines()]
    assert rows[2:] == [
        ["a", "s", "1.00", "2.00", "1.00", "1.00"],
        ["a", "MiB", "1.00", "1.00", "0.00", "0.00"],
        ["b", "s", "", "3.00", "", ""],
    ]


def test_the_estimate_counts_the_networks_that_a_method_runs() -> None:
    assert forwards({"teacher": "", "twin": True}) == {"student": 4, "teacher": 0}
    assert forwards({"teacher": "frozen", "twin": False}) == {"student": 3, "teacher": 1}
    assert forwards({"teacher": "online", "twin": True}) == {"student": 4, "teacher": 4}
    assert device_hours({"teacher": 2e9}) == pytest.approx(2 * device_hours({"teacher": 1e9}))
