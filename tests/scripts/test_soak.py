"""The soak: what it takes for a leak, and a short real run of it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from reliability import soak_page
from reliability.process_tree import below, held_by, in_use, marked
from reliability.soak_page import GROWTH, slope
from reliability.soak_rows import RESULTS, Left, Sample, Soak, keep, read

NOTHING = Left(0, 0, 0)


def looks(growth: float = 0, handles: int = 0, number: int = 100) -> list[Sample]:
    """Looks of an hour whose memory grows by so many bytes an hour, and its handles by so many."""
    found = []
    for place in range(number):
        share = place / (number - 1)
        start = 10**8 if share > 0.05 else 0  # which is no leak
        found.append(
            Sample(
                **{"host": "classic", "seconds": round(3600 * share), "epochs": place},
                **{"comparisons": place // 10, "memory": int(start + growth * share)},
                **{"memory_of_children": 5, "memory_beside": 6, "threads": 3, "children": 1},
                **{"handles": 13 + 4 * (place % 2) + int(handles * share)},
                **{"processes": 4, "temporary": 0, "shared": 0},
            )
        )
    return found


def test_growth_per_hour_has_an_interval_and_leaves_the_start_out() -> None:
    found = slope(looks(growth=3e7))
    assert found is not None
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(3e7, rel=0.01)
    assert slope(looks(number=8)) is None


@pytest.mark.parametrize(
    ("samples", "left", "fault"),
    [
        (looks(), NOTHING, None),
        (looks(growth=GROWTH / 2), NOTHING, None),
        (looks(growth=2 * GROWTH), NOTHING, "the memory of the training grows"),
        (looks(handles=20), NOTHING, "the training's handles grow"),
        (looks(), Left(1, 0, 0), "1 processes are left"),
        (looks(), Left(0, 2, 0), "2 temporary files are left"),
        (looks(), Left(0, 0, 3), "3 files in shared memory are left"),
    ],
)
def test_what_leaks_is_said(samples: list[Sample], left: Left, fault: str | None) -> None:
    found = soak_page.judge(samples, left)
    assert [line.startswith(fault or "none") for line in found] == [True] * bool(fault)


def test_a_run_replaces_the_earlier_one_of_its_host_alone(tmp_path: Path) -> None:
    for host, commit in (("classic", "a"), ("main", "b"), ("classic", "c")):
        samples = [Sample(**{**vars(look), "host": host}) for look in looks(number=20)]
        keep(tmp_path, Soak(host, commit, "a CPU", 2, NOTHING, ("a",)), samples)
    runs = read(tmp_path)
    assert [(run.host, run.commit, len(samples)) for run, samples in runs] == [
        ("classic", "c", 20),
        ("main", "b", 20),
    ]
    text = soak_page.tables(runs)
    assert "solo-learn, classic | solo-learn, main" in text and "| epochs" in text


def test_processes_are_found_by_their_mark_wherever_they_hang(tmp_path: Path) -> None:
    inner = "import subprocess, sys; subprocess.Popen(['sleep', '30'], start_new_session=True)"
    outer = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {inner!r}]); "
    outer += "open(sys.argv[1]); file = open(sys.argv[1]); print(1, flush=True); time.sleep(30)"
    path = tmp_path / "held"
    path.touch()
    env = {"PATH": "/usr/bin:/bin", "A_MARK": str(tmp_path)}
    command = [sys.executable, "-S", "-c", outer, str(path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        found = marked("A_MARK", str(tmp_path))
        assert process.pid in found and len(found) == 2  # and the sleep that nobody waits for
        held = held_by(process.pid)
        assert held is not None and held.memory > 0 and held.threads == 1
        assert below(process.pid, found) == set()  # its parent has ended
        assert in_use([path, tmp_path / "other"]) == {path}
        for pid in found:
            subprocess.run(["kill", str(pid)], check=True)
    deadline = time.monotonic() + 10
    while marked("A_MARK", str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked("A_MARK", str(tmp_path)) == set() and held_by(process.pid) is None


def test_the_page_has_the_table_of_the_results() -> None:
    page = (RESULTS.parent / soak_page.PAGE).read_text()
    runs = read(RESULTS)
    assert runs and f"\n{soak_page.tables(runs)}\n" in page


@pytest.mark.trial
def test_a_short_soak_leaves_nothing(tmp_path: Path) -> None:
    words = ["--minutes", "1.2", "--every", "3", "--work", str(tmp_path / "work")]
    command = [sys.executable, "-m", "reliability", "soak", *words, "--results", str(tmp_path)]
    root = Path(__file__).parents[2]
    env = {
        "PYTHONPATH": f"{root}:{root / 'scripts'}",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    ((run, samples),) = read(tmp_path)
    assert run.left == NOTHING and run.faults == (), done.stdout[-1000:]
    assert samples[-1].processes >= 2
