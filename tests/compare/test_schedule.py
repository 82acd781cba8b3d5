import json
import os
import pty
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from processes import is_alive

from solo_rekd.compare import schedule as module
from solo_rekd.compare.launch.processes import Processes
from solo_rekd.compare.schedule import Schedule, Task, figures, interruptible

RESULT = {
    "pretrain": {"seconds": 60},
    "linear_host": {"top1": 40.0, "seconds": 2},
    "linear_cached": {"top1": 50.0, "seconds": 1},
    "knn": {"top1": 30.0, "seconds": 1},
}
# Stands for the worker: does what its job says, and tells when it began and ended.
WORKER = f"""
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
(folder / "began").write_text(repr(time.time()))
print("working", job)
(folder / "progress.json").write_text('{{"stage": "pretrain", "done": 0.5, "seconds": 1}}')
time.sleep(job.get("sleep", 0.2))
if job.get("fail"):
    sys.exit("RuntimeError: no luck")
if job.get("mistake"):
    print("solo-rekd: error: not allowed")
    sys.exit(2)
if job.get("kill"):
    os.kill(os.getpid(), 9)
(folder / "ended").write_text(repr(time.time()))
if not job.get("idle"):
    (folder / "result.json").write_text({json.dumps(json.dumps(RESULT))})
"""
COMMAND = (sys.executable, "-c", WORKER)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often."""
    monkeypatch.setattr(module, "POLL", 0.02)


def task(root: Path, name: str, after: Path | None = None, **job: object) -> Task:
    return Task(name, 0, root / name, lambda: job, after)


def run(tasks: list[Task], jobs: int = 1) -> Schedule:
    schedule = Schedule(tasks, jobs, lambda _: None, Processes(jobs, COMMAND))
    schedule.run()
    return schedule


def span(task: Task) -> tuple[float, float]:
    began, ended = ((task.folder / name).read_text() for name in ("began", "ended"))
    return float(began), float(ended)


def overlap(one: Task, other: Task) -> bool:
    return max(span(one)[0], span(other)[0]) < min(span(one)[1], span(other)[1])


def test_tasks_run_one_after_the_other_in_their_order(tmp_path, capsys):
    tasks = [task(tmp_path, name) for name in "cab"]
    schedule = run(tasks)
    assert list(schedule.results) == [t.folder for t in tasks]
    spans = [span(t) for t in tasks]
    assert all(one[1] <= next_one[0] for one, next_one in pairwise(spans))
    lines = capsys.readouterr().out.splitlines()
    figures = "linear 40.00 (host), 50.00 (cached features), kNN 30.00, in 0:01:04"
    assert lines == [f"{name} seed 0: {figures}" for name in "cab"]


def test_tasks_run_side_by_side(tmp_path):
    tasks = [task(tmp_path, name, sleep=1) for name in "abc"]
    run(tasks, jobs=2)
    assert overlap(tasks[0], tasks[1])
    assert not all(overlap(tasks[2], other) for other in tasks[:2])


def test_the_next_is_at_work_while_the_report_is_written(tmp_path):
    tasks = [task(tmp_path, name, sleep=0.1) for name in "ab"]
    seen = []

    def report(schedule: Schedule) -> None:
        seen.append(([*schedule.results], [*schedule.running]))

    Schedule(tasks, 1, report, Processes(1, COMMAND)).run()
    first, second = (each.folder for each in tasks)
    assert seen == [([first], [second]), ([first, second], [])]


def test_what_waits_lets_others_go_first(tmp_path):
    teacher = task(tmp_path, "teacher", sleep=1)
    pupil, other = task(tmp_path, "pupil", teacher.folder), task(tmp_path, "other", sleep=0.1)
    run([teacher, pupil, other], jobs=2)
    assert overlap(teacher, other)
    assert span(pupil)[0] >= span(teacher)[1]


def test_the_job_is_made_when_its_turn_comes(tmp_path):
    teacher = task(tmp_path, "teacher")
    pupil = Task("pupil", 0, tmp_path / "pupil", lambda: teacher_top1(teacher), teacher.folder)

    def teacher_top1(finished: Task) -> dict:
        return {"top1": json.loads((finished.folder / "result.json").read_text())["knn"]["top1"]}

    run([teacher, pupil])
    assert json.loads((pupil.folder / "job.json").read_text()) == {"top1": 30.0}


def test_a_finished_task_is_kept(tmp_path):
    tasks = [task(tmp_path, name) for name in "ab"]
    tasks[0].folder.mkdir()
    (tasks[0].folder / "result.json").write_text(json.dumps(RESULT))
    schedule = run(tasks)
    assert set(schedule.results) == {t.folder for t in tasks}
    assert not (tasks[0].folder / "began").exists()
    assert (tasks[1].folder / "began").exists()


@pytest.mark.parametrize(
    ("job", "reason", "code"),
    [
        ({"fail": True}, "RuntimeError: no luck", 1),
        ({"kill": True}, "killed by SIGKILL", 1),
        ({"idle": True}, "working {'idle': True}", 1),
        ({"mistake": True}, "solo-rekd: error: not allowed", 2),
    ],
)
def test_a_failed_task_is_told_and_the_others_go_on(job, reason, code, tmp_path, capsys):
    tasks = [task(tmp_path, "a", **job), task(tmp_path, "b")]
    told = []
    launcher = Processes(1, COMMAND)
    schedule = Schedule(tasks, 1, lambda s: told.append((len(s.failed), len(s.results))), launcher)
    schedule.run()
    assert schedule.failed == {tasks[0].folder: reason}
    assert schedule.exit_code == code
    assert list(schedule.results) == [tasks[1].folder]
    assert told == [(1, 0), (1, 1)]
    line = capsys.readouterr().out.splitlines()[0]
    assert line == f"a seed 0 failed: {reason} ({tasks[0].folder / 'log.txt'})"


@pytest.mark.parametrize("faults", [("mistake", "fail"), ("fail", "mistake")])
def test_a_fault_among_mistakes_is_a_fault(faults, tmp_path):
    assert run([task(tmp_path, name, **{name: True}) for name in faults]).exit_code == 1


def test_what_needs_a_failed_task_is_not_run(tmp_path, capsys):
    teacher = task(tmp_path, "teacher", fail=True)
    pupil, other = task(tmp_path, "pupil", teacher.folder), task(tmp_path, "other")
    schedule = run([teacher, pupil, other])
    assert (list(schedule.failed), schedule.blocked) == ([teacher.folder], {pupil.folder})
    assert list(schedule.results) == [other.folder]
    assert not pupil.folder.exists()
    assert "pupil seed 0 is skipped: a run that it needs failed" in capsys.readouterr().out


def test_the_log_of_an_earlier_attempt_is_kept(tmp_path):
    run([task(tmp_path, "a", fail=True)])
    run([task(tmp_path, "a")])
    log = (tmp_path / "a" / "log.txt").read_text()
    assert log.index("no luck") < log.rindex("working")


def test_the_share_done_counts_a_run_that_was_stopped(tmp_path):
    waiting = task(tmp_path, "a")
    waiting.folder.mkdir()
    (waiting.folder / "progress.json").write_text('{"stage": "x", "done": 0.25, "seconds": 9}')
    assert Schedule([waiting], 1, lambda _: None)._progress(waiting).done == 0.25


# starts a process of its own, as a loader of images does
FAMILY = """
import os, pathlib, subprocess, sys, time
loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(pathlib.Path(sys.argv[1]) / "last.ckpt.0a1b.unfinished").touch()
(pathlib.Path(sys.argv[1]) / "pids").write_text(f"{os.getpid()} {loader.pid} ")
time.sleep(60)
"""
PARENT = f"""
import signal
import sys
from pathlib import Path
from solo_rekd.compare.launch.processes import Processes
from solo_rekd.compare.schedule import Schedule, Task, interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in background
tasks = [Task(name, 0, Path(sys.argv[1]) / name, dict) for name in "ab"]
try:
    with interruptible():
        launcher = Processes(2, (sys.executable, "-c", {FAMILY!r}))
        Schedule(tasks, 2, print, launcher).run()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_ends_every_process(number, tmp_path):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("this signal is ignored, as under nohup, and so by every process begun here")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    deadline = time.monotonic() + 60
    files = [tmp_path / name / "pids" for name in "ab"]
    while not all(file.exists() and file.read_text().endswith(" ") for file in files):
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert len(pids) == 4 and all(map(is_alive, pids))
    parent.send_signal(number)
    assert parent.wait(30) == 130
    assert not any(map(is_alive, pids))
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, hangup)


PRINTER = """
import sys, time
from solo_rekd.compare.schedule import print_line
sys.stdin.read()  # until nobody reads what is printed
for _ in range(3):
    print_line("text " * 20_000)
sys.exit(7)
"""


@pytest.mark.parametrize("open_ends", [os.pipe, pty.openpty], ids=["pipe", "terminal"])
def test_the_runs_go_on_where_nobody_reads_their_lines(open_ends):
    reader, writer = open_ends()
    command = [sys.executable, "-c", PRINTER]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writer)
    os.close(writer)
    os.close(reader)
    process.stdin.close()
    assert process.wait(60) == 7


def test_the_figures_of_a_run_without_pretraining():
    assert figures(RESULT | {"pretrain": None}).endswith("kNN 30.00, in 0:00:04")
