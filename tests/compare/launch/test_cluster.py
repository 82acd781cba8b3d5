"""Jobs by submitit's local executor, which starts them as processes that outlive their parent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import is_alive

from solo_rekd.compare import schedule as scheduling
from solo_rekd.compare.launch import cluster as module
from solo_rekd.compare.launch.cluster import JOB, LOCAL, Cluster, check
from solo_rekd.compare.schedule import Schedule, Task
from solo_rekd.utils.errors import UserError

submitit = pytest.importorskip("submitit", reason="submitit is not installed: solo-rekd[slurm]")

RESULT = {
    "pretrain": {"seconds": 60},
    "linear_host": {"top1": 40.0, "seconds": 2},
    "linear_cached": {"top1": 50.0, "seconds": 1},
    "knn": {"top1": 30.0, "seconds": 1},
}
# Stands for the worker: notes its processes, and does what its job says.
WORKER = f"""
import json, os, pathlib, sys, threading, time
folder, parent = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def end_with_parent():
    while os.getppid() == parent:
        time.sleep(0.02)
    os.kill(os.getpid(), 9)

threading.Thread(target=end_with_parent, daemon=True).start()
job = json.loads((folder / "job.json").read_text())
with (folder / "begun").open("a") as file:
    print(os.getpid(), parent, time.time(), file=file, flush=True)
began = len((folder / "begun").read_text().splitlines())
print("working")
(folder / "environment").write_text(json.dumps(dict(os.environ)))
if began <= job.get("lost", 0):  # with all that the machine had of the job
    os.kill(parent, 9)
    time.sleep(60)
time.sleep(job.get("sleep", 0))
if job.get("fail"):
    sys.exit("RuntimeError: no luck")
(folder / "result.json").write_text({json.dumps(json.dumps(RESULT))})
"""
COMMAND = (sys.executable, "-c", WORKER)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and trusts the file system."""
    monkeypatch.setattr(scheduling, "POLL", 0.02)
    monkeypatch.setattr(module, "SETTLE", 0.2)
    monkeypatch.setattr(module, "POLL", 0.05)


def task(root: Path, name: str, **job: object) -> Task:
    return Task(name, 0, root / "runs" / name / "seed-0", lambda: job)


def run(root: Path, tasks: list[Task], tries: int = module.RESUBMISSIONS) -> Schedule:
    launcher = Cluster(root, LOCAL, {}, scheduling.print_line, COMMAND, tries)
    schedule = Schedule(tasks, len(tasks), lambda _: None, launcher)
    schedule.run()
    return schedule


def begun(task: Task) -> list[list[float]]:
    """The worker, its parent and the time of every attempt."""
    lines = (task.folder / "begun").read_text().splitlines()
    return [[float(word) for word in line.split()] for line in lines]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_are_jobs_whose_results_and_failures_come_back(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")  # as of a job in which the comparison itself runs
    tasks = [task(tmp_path, "a"), task(tmp_path, "b", fail=True)]
    schedule = run(tmp_path, tasks)
    assert set(schedule.results) == {tasks[0].folder}
    assert schedule.failed == {tasks[1].folder: "RuntimeError: no luck"}
    assert "a seed 0: linear 40.00" in capsys.readouterr().out
    for each in tasks:
        assert "working" in (each.folder / "log.txt").read_text()
        assert len(begun(each)) == 1  # a mistake is made once
        env = json.loads((each.folder / "environment").read_text())
        assert "SLURM_NTASKS" not in env  # Lightning would take it for one process of eight
    known = json.loads((tasks[0].folder / JOB).read_text())
    assert list((tmp_path / module.FOLDER).glob(f"{known['job']}_*_log.out"))


def test_a_lost_job_is_submitted_again(tmp_path, capsys):
    lost = task(tmp_path, "a", lost=2)
    schedule = run(tmp_path, [lost])
    assert list(schedule.results) == [lost.folder]
    assert len(begun(lost)) == 3
    assert capsys.readouterr().out.count("a seed-0: its job ") == 2


def test_a_job_that_is_lost_again_and_again_fails(tmp_path):
    lost = task(tmp_path, "a", lost=9)
    schedule = run(tmp_path, [lost], tries=1)
    assert "ended without an outcome" in schedule.failed[lost.folder]
    assert len(begun(lost)) == 2


# starts jobs as a comparison does
PARENT = f"""
import signal, sys
from pathlib import Path
from solo_rekd.compare.launch.cluster import Cluster
from solo_rekd.compare.schedule import Schedule, Task, interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)
out = Path(sys.argv[1])
tasks = [Task("a", 0, out / "runs" / "a" / "seed-0", lambda: {{"sleep": 6}})]
launcher = Cluster(out, "local", {{}}, print, (sys.executable, "-c", {WORKER!r}))
try:
    with interruptible():
        Schedule(tasks, 1, lambda _: None, launcher).run()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cancels_the_jobs(number, tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    waiting = task(tmp_path, "a")
    wait_for(waiting.folder / "environment")
    ((worker, wrapper, _),) = begun(waiting)
    parent.send_signal(number)
    assert parent.wait(60) == 130
    assert not is_alive(int(worker)) and not is_alive(int(wrapper))
    assert not (waiting.folder / "result.json").exists()


@pytest.mark.slow
def test_no_two_jobs_work_in_one_folder(tmp_path):
    """The job of a comparison that was killed goes on; the next one's waits for it."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    waiting = task(tmp_path, "a")
    wait_for(waiting.folder / "environment")
    parent.kill()
    parent.wait()
    ((worker, *_),) = begun(waiting)
    schedule = run(tmp_path, [waiting])
    assert list(schedule.results) == [waiting.folder]
    assert len(begun(waiting)) == 1
    assert not is_alive(int(worker))


def ended_job(folder: Path, state: str) -> SimpleNamespace:
    """Stands for a job of SLURM's without an outcome."""
    paths = SimpleNamespace(result_pickle=folder / "no", stderr=folder / "err")
    done = state not in ("RUNNING", "UNKNOWN")
    return SimpleNamespace(
        job_id="7", state=state, paths=paths, done=lambda force_check=False: done
    )


@pytest.mark.parametrize(
    ("state", "found"), [("RUNNING", True), ("COMPLETED", False), ("UNKNOWN", False)]
)
def test_a_job_that_still_works_is_found(state, found, tmp_path, monkeypatch):
    monkeypatch.setattr(submitit, "LocalJob", lambda folder, number: ended_job(folder, state))
    launcher = Cluster(tmp_path, LOCAL, {}, print, COMMAND)
    folder = task(tmp_path, "a").folder
    folder.mkdir(parents=True)
    assert launcher.find(folder) is None  # it was never submitted
    (folder / JOB).write_text(json.dumps({"cluster": LOCAL, "job": "7"}))
    assert (launcher.find(folder) is not None) == found
    (folder / JOB).write_text(json.dumps({"cluster": "slurm", "job": "7"}))
    assert launcher.find(folder) is None  # a number of another cluster


@pytest.mark.parametrize(
    ("state", "tried"),
    [("CANCELLED by 1000", False), ("OUT_OF_MEMORY", False), ("NODE_FAIL", True)],
)
def test_what_another_try_does_not_help_is_not_tried(state, tried, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SETTLE", 0)
    again = []

    def submit() -> SimpleNamespace:
        again.append(ended_job(tmp_path, "RUNNING"))
        return again[-1]

    handle = module.Job(ended_job(tmp_path, state), tmp_path, submit, print, 1)
    code = handle.poll()
    assert len(again) == tried
    assert code == (None if tried else 1)
    if not tried:
        assert state in handle.reason() and str(tmp_path / "err") in handle.reason()


@pytest.mark.parametrize(
    ("cluster", "parameters", "message"),
    [
        ("local", {"nodes": 2}, "slurm='nodes' is not allowed"),
        ("local", {"partitoin": "gpu"}, "slurm='partitoin=gpu' is not allowed"),
        ("local", {"timeout_min": "1h"}, "slurm='timeout_min=1h' is not allowed"),
        ("slurm", {}, "launcher='slurm' is not allowed"),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(
    cluster, parameters, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no SLURM
    with pytest.raises(UserError) as raised:
        check(cluster, parameters)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


# What SLURM's commands do, as far as submitit asks.
SBATCH = """#!/bin/sh
cp "$1" {folder}/script
echo Submitted batch job 7
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
echo "7|$(cat {folder}/state)|node1"
"""


def test_slurm_is_asked_for_what_the_user_gave(tmp_path, monkeypatch):
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "srun": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "state").write_text("RUNNING")
    parameters = {"partition": "gpu", "timeout_min": 90, "mem_gb": 24, "gpus_per_node": 1}
    launcher = Cluster(tmp_path / "out", "slurm", parameters, print, COMMAND)
    folder = task(tmp_path / "out", "a").folder
    folder.mkdir(parents=True)
    handle = launcher.launch(folder)
    lines = (tmp_path / "script").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    given = {"partition=gpu", "time=90", "mem=24GB", "gpus-per-node=1", "job-name=a-seed-0"}
    assert given <= asked
    assert handle.poll() is None
    assert launcher.find(folder).job.job_id == "7"  # by a comparison that resumes
    monkeypatch.setattr(module, "SETTLE", 0)
    again = []
    handle.resubmit = lambda: again.append(True) or handle.job
    (tmp_path / "state").write_text("NODE_FAIL")
    handle.job.watcher.clear()  # which asks SLURM now and then only
    assert handle.poll() is None
    assert again


@pytest.mark.trial
def test_a_training_whose_machine_is_lost_resumes_from_its_newest_checkpoint(options, tmp_path):
    command = [str(Path(sys.executable).with_name("solo-rekd")), "compare", *options]
    command += ["--methods", "mocov2plus,simclr", "--epochs", "6", "--launcher", LOCAL]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    folder = tmp_path / "out" / "runs" / "mocov2plus" / "seed-0"
    history = folder / "history.jsonl"
    deadline = time.monotonic() + 240
    # the second epoch's line: the first one's checkpoint is whole then
    while not (history.exists() and history.read_text().count("\n") > 1):
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    before = json.loads(history.read_text().splitlines()[0])
    controller = int(json.loads((folder / JOB).read_text())["job"])
    (wrapper,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(wrapper), signal.SIGKILL)
    shown, _ = parent.communicate(timeout=400)
    assert parent.returncode == 0, shown
    assert "submitting it again" in shown
    after = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["epoch"] for line in after] == list(range(6))
    assert after[0] == before
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["arm"] for run in comparison["runs"]] == ["mocov2plus", "simclr"]
    assert LOCAL in comparison["machine"]["runs"]
