"""Tests the study: a plan becomes comparisons, these become lines, and lines become tables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from processes import is_alive
from study import rows
from study.plan import PLAN, read_plan
from study.rates import asked_rates, best_rate
from study.runner import Chosen, Place, Study
from study_rows import make_row

from solo_rekd.compare.arms import parse_arm

ROOT = Path(__file__).parents[2]


def write_comparison(folder: Path, runs: list[dict[str, Any]], teacher: Any = None) -> Path:
    plan = {
        **{"data": "/data/cifar10", "student": "alexnet", "val_dir": "test", "epochs": 8},
        **{"lr": 0.03, "crop_size": 64, "teacher": "timm:lite", "teacher_size": 128},
    }
    comparison = {"protocol": {"training images": 3000}, "runs": runs, "teacher": teacher}
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "comparison.json").write_text(json.dumps(comparison))
    return folder


def make_run(arm: str, seed: int = 0, **figures: Any) -> dict[str, Any]:
    part = {"CPU": "a CPU", "GPU": "none", "torch threads": "1"}
    return {
        "arm": arm,
        "seed": seed,
        "pretrain": {"epochs": 8, "seconds": 90.0},
        "linear_cached": {"top1": 50.123},
        "linear_host": {"top1": 40.0},
        "knn": {"top1": 45.0},
        "conditions": {"parts": [part]},
        **figures,
    }


def test_a_comparison_becomes_a_line_a_run(tmp_path: Path) -> None:
    few = {"few_label": {"top1": 20.0}, "few_label_1pct": {"top1": 15.0}}
    runs = [make_run("simclr+lr=0.10", 1), make_run("untrained"), make_run("seed+mixup=1", **few)]
    teacher = make_run("teacher", pretrain=None)
    folder = write_comparison(tmp_path / "c", runs, teacher)
    found = rows.collect(folder, "abc", {"seed+mixup=1": "mixed"}, teacher="lite0")
    assert all(list(row) and set(row) == set(rows.COLUMNS) for row in found)
    by_arm = {row["arm"]: row for row in found}
    assert list(by_arm) == ["teacher", "simclr", "untrained", "mixed"]
    assert (by_arm["simclr"]["lr"], by_arm["simclr"]["seed"]) == ("0.1", "1")
    assert (by_arm["simclr"]["teacher"], by_arm["simclr"]["few_label"]) == ("", "")
    assert (by_arm["untrained"]["lr"], by_arm["untrained"]["images_seen"]) == ("", "0")
    assert (by_arm["teacher"]["minutes"], by_arm["teacher"]["images_seen"]) == ("", "")
    mixed = dict(linear_cached=50.123, minutes=1.5, lr=0.03, images_seen=24000, arm="mixed")
    assert by_arm["mixed"] == make_row(**mixed)


def test_lines_are_added_once_sorted_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results" / "test.csv"
    given = [make_row(seed=seed, arm=arm) for seed in (10, 2) for arm in ("seed", "rekd")]
    assert rows.add_rows(path, given) == []
    first = path.read_bytes()
    assert first.splitlines()[0].decode() == ",".join(rows.COLUMNS)
    order = [(row["arm"], row["seed"]) for row in rows.read_rows(path)]
    assert order == [("rekd", "2"), ("rekd", "10"), ("seed", "2"), ("seed", "10")]
    assert rows.add_rows(path, reversed(given)) == []
    assert path.read_bytes() == first
    (said,) = rows.add_rows(path, [make_row(seed=2, knn=1.0, commit="def")])
    assert "rekd seed 2 has other figures than the line of commit abc" in said
    assert path.read_bytes() == first
    for other in ({"lr": 0.1}, {"epochs": 9}, {"teacher": "other"}, {"teacher_size": 64}):
        assert rows.add_rows(path, [make_row(seed=2, knn=1.0, **other)]) == []
    assert len(rows.read_rows(path)) == 8


PLAN_TEXT = """
compare: {host: classic, batch_size: 8, queue_size: 32, lr: 0.03, linear_epochs: 1, num_workers: 0}
flags: [--limit_val_batches, "0"]
datasets:
  tiny:
    source: small
    splits:
      train: {of: train, number: 8}
      tune: {of: val, number: 4}
      test: {of: val, start: 4}
    compare: {epochs: 1, crop_size: 32, stem: small}
  large: {source: small, rates_as: tiny, splits: {}, compare: {epochs: 2}}
students: {alexnet: {}, resnet18: {rates_as: alexnet}}
teachers: {mine: {compare: {teacher: alexnet}}}
phases: {rates: {split: tune, seeds: 1}, test: {split: test, seeds: 2}}
arms:
  untrained: {}
  simclr: {rates: [0.01, 0.03]}
  taught: {arm: seed, rates: [0.01]}
  control: {arm: "seed+teacher_mode=online+teacher_checkpoint={teacher}", rates_as: taught}
tables: {first: [[taught, control, simclr, untrained]]}
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN_TEXT)
    return path


def test_the_plan_names_arms_that_it_has(plan_file: Path) -> None:
    assert set(read_plan(PLAN).names("phases")) == {"rates", "tune", "test"}
    plan_file.write_text(PLAN_TEXT.replace("rates_as: taught", "rates_as: absent"))
    with pytest.raises(SystemExit, match="no arm absent"):
        read_plan(plan_file)


def test_an_arm_takes_the_best_rate_once_its_sweep_is_whole(plan_file: Path) -> None:
    plan = read_plan(plan_file)
    tiny = {"dataset": "tiny", "teacher": "", "split": "tune"}
    low = make_row(arm="simclr", lr=0.01, linear_cached=50, knn=45, **tiny)
    high = make_row(arm="simclr", lr=0.03, linear_cached=49, knn=47, **tiny)
    end = make_row(arm="simclr", lr=0.1, linear_cached=49, knn=45, **tiny)
    for place in (("tiny", "alexnet"), ("large", "resnet18")):
        assert best_rate(plan, [low, high, end], *place, "simclr", "mine") == "0.03"
        assert best_rate(plan, [low, high], *place, "simclr", "mine") is None
        assert best_rate(plan, [low], *place, "simclr", "mine") is None
        assert best_rate(plan, [], *place, "untrained", "mine") == ""
    other = make_row(arm="taught", lr=0.01, dataset="tiny", teacher="other")
    own = make_row(arm="taught", lr=0.01, dataset="tiny", teacher="mine")
    assert best_rate(plan, [other], "tiny", "alexnet", "control", "mine") is None
    assert best_rate(plan, [other, own], "tiny", "alexnet", "control", "mine") == "0.01"


def test_a_sweep_goes_on_until_its_best_rate_is_between_two() -> None:
    first = [0.01, 0.03, 0.1]
    assert asked_rates(first, {}) == ["0.01", "0.03", "0.1"]
    assert asked_rates(first, {"0.01": 1, "0.03": 2}) == ["0.01", "0.03", "0.1"]
    found = {"0.01": 1.0, "0.03": 2.0, "0.1": 1.5}
    assert asked_rates(first, found) == ["0.01", "0.03", "0.1"]
    found["0.1"] = 3.0
    assert asked_rates(first, found) == ["0.01", "0.03", "0.1", "0.3"]
    found |= {"0.3": 4.0, "1": 5.0, "3": 6.0, "10": 7.0}
    assert asked_rates(first, found)[-3:] == ["1", "3", "10"]
    falling = {"0.01": 3.0, "0.03": 2.0, "0.1": 1.0, "0.003": 4.0}
    assert asked_rates(first, falling) == ["0.001", "0.003", "0.01", "0.03", "0.1"]
    assert asked_rates([0.01], {"0.01": 1.0}) == ["0.01"]
    assert asked_rates([], {}) == []


def test_what_has_a_line_is_not_run_and_cheap_students_come_first(
    plan_file: Path, tmp_path: Path
) -> None:
    plan, results = read_plan(plan_file), tmp_path / "results"
    files = {"mine": tmp_path / "teacher.pth"}

    def study(phase: str, seeds: int | None = None) -> Study:
        arms = ["untrained", "simclr", "taught", "control"]
        chosen = Chosen(phase, ["tiny", "large"], ["alexnet", "resnet18"], ["mine"], arms, seeds)
        return Study(plan, chosen, tmp_path, results, {}, files)

    tiny = {"dataset": "tiny", "split": "tune", "epochs": 1, "teacher": ""}
    rows.add_rows(results / "rates.csv", [make_row(arm="simclr", lr=0.01, knn=60, **tiny)])
    sweep = [step for step in study("rates").steps()]
    place = Place("rates", "tiny", "alexnet", "mine")
    assert sweep == [(place, 0, [name]) for name in ("untrained", "simclr", "taught")]
    asked = []
    for _, _, names in study("rates").steps():
        if names == ["simclr"]:
            lrs = [parse_arm(text).lr for text in study("rates").texts(place, "simclr") or ()]
            asked.append(lrs)
            new = [make_row(arm="simclr", lr=lr, knn=60 - 100 * lr, **tiny) for lr in lrs]
            rows.add_rows(results / "rates.csv", new[-2:] if len(asked) < 2 else new)
    assert asked == [[0.01, 0.03], [0.003, 0.01, 0.03]]
    assert [names for _, _, names in study("rates").steps()] == [["untrained"], ["taught"]]

    rows.add_rows(results / "test.csv", [make_row(arm="untrained", lr="", seed=0, **tiny)])
    steps = [(seed, p.student, p.dataset, *names) for p, seed, names in study("test").steps()]
    folders = [(name, data) for name in ("alexnet", "resnet18") for data in ("tiny", "large")]
    expected = [
        (s, *each, arm) for s in (0, 1) for each in folders for arm in ("untrained", "simclr")
    ]
    assert steps == expected[1:]  # the arms with a teacher have no rate
    for seeds, run in ((1, {0}), (2, {0, 1}), (3, {0, 1})):
        assert {seed for _, seed, _ in study("test", seeds).steps()} == run


# a comparison at work that has told its number
COMPARISON = """
import os, pathlib, sys, time
from solo_rekd.compare.schedule import interruptible
with interruptible():
    pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} ")
    time.sleep(60)
"""
STUDY = f"""
import sys
from solo_rekd.compare.schedule import interruptible
from study.runner import call
with interruptible(), open(sys.argv[2], "w") as log:
    try:
        call([sys.executable, "-c", {COMPARISON!r}, sys.argv[1]], log)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_study_that_is_ended_ends_its_comparison(number: signal.Signals, tmp_path: Path) -> None:
    # as a script starts what it puts in the background, which Ctrl-C is not to reach
    background = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    background += (
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    pid, log = tmp_path / "pid", tmp_path / "log"
    words = [sys.executable, "-c", background, sys.executable, "-c", STUDY, pid, log]
    with subprocess.Popen(list(map(str, words)), cwd=ROOT / "scripts") as study:
        deadline = time.monotonic() + 60
        while not (pid.exists() and pid.read_text().endswith(" ")):
            assert study.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        comparison = int(pid.read_text())
        assert is_alive(comparison)
        study.send_signal(number)
        try:
            assert study.wait(30) == 130
        finally:
            study.kill()
        alive = is_alive(comparison)
        if alive:
            os.kill(comparison, signal.SIGKILL)
        assert not alive


@pytest.mark.trial
def test_a_phase_runs_and_resumes(plan_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    for split in ("train", "val"):
        for label in range(2):
            folder = tmp_path / "small" / split / f"class{label}"
            folder.mkdir(parents=True)
            for image in range(8):
                colour = (90 * label, 20 * image, 0)
                Image.new("RGB", (32, 32), colour).save(folder / f"{image}.png")

    def study(*words: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "study", "run", *words, "--plan", str(plan_file)),
                *("--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")),
                *("--data", f"small={tmp_path / 'small'}", "--datasets", "tiny"),
                *("--students", "alexnet", "--arms", "taught"),
            ],
            cwd=ROOT / "scripts",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    code, lines = study("rates")
    assert code == 1
    assert "teacher mine: give its weights by --teacher_file mine=FILE" in lines[-1]
    import torch

    from solo_rekd.backbones import build_backbone

    network = build_backbone("alexnet", 32).state_dict()
    weights = {f"encoder.{name}": tensor for name, tensor in network.items()}
    weights |= {"projector.0.weight": torch.ones(128, 256), "projector.0.bias": torch.ones(128)}
    torch.save({"state_dict": weights}, tmp_path / "mine.pth")
    given = ("--teacher_file", f"mine={tmp_path / 'mine.pth'}")
    code, lines = study("rates", "test", *given, "--budget", "0")
    assert (code, len(lines)) == (0, 1), lines
    code, lines = study("rates", *given)
    assert code == 0, lines
    swept = rows.read_rows(tmp_path / "results" / "rates.csv")
    assert [(row["arm"], row["lr"]) for row in swept] == [("taught", "0.01"), ("teacher", "")]
    assert all(row["few_label"] and row["split"] == "tune" for row in swept)
    assert study("rates", *given) == (0, [])
