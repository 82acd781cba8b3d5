"""Tests the trials of docs/reliability.md: what they kill, when, and what they call equal."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.page import find_place
from processes import is_alive
from reliability import kill, tables
from reliability.equal import Comparison, same
from reliability.family import Family
from reliability.rows import add_row, read_rows
from reliability.strike import ALONE, ANY, WRITE, strike
from reliability.whole import find_torn

ROOT = Path(__file__).parents[2]
MAIN = os.environ.get("SOLO_LEARN_HOME") or None

# a run in a session of its own, as a comparison starts it, which writes a checkpoint every second
WRITER = """
import os, pathlib, subprocess, sys, time
root = pathlib.Path(sys.argv[1])
if len(sys.argv) == 2:
    words = [sys.executable, "-c", sys.argv[0], root, "x"]
    worker = subprocess.Popen(words, start_new_session=True)
    (root / "pids").write_text(f"{os.getpid()} {worker.pid}")
    sys.exit(worker.wait())
folder = root / "rekd" / "part"
folder.mkdir(parents=True)
for epoch in range(4):
    path = folder / f"rekd-part-ep={epoch}.ckpt"
    unfinished = path.with_name(f"{path.name}.0a1b.unfinished")
    unfinished.touch()
    time.sleep(0.3)
    unfinished.rename(path)
    time.sleep(0.3)
""".strip()


def start(root: Path) -> Family:
    program = f"import sys; sys.argv[0] = source = {WRITER!r}; exec(source)"
    family = Family([sys.executable, "-c", program, str(root)], root / "log", dict(os.environ))
    while not (root / "pids").exists():
        assert family.process.poll() is None, (root / "log").read_text()
        time.sleep(0.01)
    return family


@pytest.mark.parametrize("kind", [ANY, WRITE])
def test_a_kill_ends_every_process_at_its_moment(kind: str, tmp_path: Path) -> None:
    family = start(tmp_path)
    done = strike(family, kind, random.Random(0), 1.0, tmp_path)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and not any(map(is_alive, pids))
    assert done is not None and family.process.returncode == -signal.SIGKILL
    if kind == WRITE:
        # of the epoch that was drawn, or of a later one
        assert done.unfinished == 1 and done.epochs >= random.Random(0).randrange(4)
    else:
        assert done.seconds >= random.Random(0).random()


def test_a_command_that_is_killed_alone_leaves_what_it_started(tmp_path: Path) -> None:
    family = start(tmp_path)
    done = strike(family, ALONE, random.Random(0), 1.0, tmp_path)
    # the run of this one does not watch it, and writes its four checkpoints
    assert done is not None and done.ended > 0.5 and done.epochs == 4
    assert family.process.returncode == -signal.SIGKILL


def test_a_command_that_ended_before_its_moment_is_not_killed(tmp_path: Path) -> None:
    family = Family([sys.executable, "-c", ""], tmp_path / "log", dict(os.environ))
    assert strike(family, ANY, random.Random(0), 1e9, tmp_path) is None
    family = Family([sys.executable, "-c", ""], tmp_path / "log", dict(os.environ))
    assert strike(family, WRITE, random.Random(0), 1e9, tmp_path) is None


def write_run(folder: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {"weight": torch.ones(2), "tau": 0.99, "seconds": 1.0, "part": "a0"}
    given |= changes
    run = folder / "runs" / "seed" / "seed-0"
    part = run / "pretrain" / "seed" / given["part"]
    part.mkdir(parents=True)
    (part / "events.out.tfevents.17.vm.9.0").touch()
    content = {
        "state_dict": {"weight": given["weight"]},
        "resume_from_checkpoint": given["part"],
        "at": str(folder),
    }
    torch.save(content, part / f"seed-{given['part'].removesuffix('-0a1b2c3d')}-ep=3.ckpt")
    saved = str(next(part.glob("*.ckpt")))
    line = {"epoch": 0, "seconds": given["seconds"], "loss": float("nan"), "tau": given["tau"]}
    (run / "history.jsonl").write_text(json.dumps(line) + "\n")
    np.savez(run / "embeddings.npz", features=np.ones(3, np.float16))
    parts = [{"CPU": "one"}] * (1 if given["part"] == "a0" else 2)
    (run / "result.json").write_text(json.dumps({"parts": parts, "checkpoint": saved}))
    with (folder / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["arm", "knn.top1", "knn.seconds"], ["seed", 50.0, given["seconds"]]]
        )
    return folder


def test_times_places_and_parts_of_a_training_may_differ_and_nothing_else(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole")
    for part in ("b1", "offline-x1", "1", "1-0a1b2c3d"):
        resumed = write_run(tmp_path / f"of-{part}", part=part, seconds=9.0)
        assert Comparison(whole, resumed).differences() == []
    off = torch.ones(2).nextafter(torch.zeros(2))
    resumed = write_run(tmp_path / "b", weight=off, tau=0.999)
    run = resumed / "runs" / "seed" / "seed-0"
    (run / "embeddings.npz").unlink()
    (resumed / "plan.json.0a1b2c3d.unfinished").touch()
    np.savez(resumed / "more.npz", features=np.ones(3))
    assert [line.split("/")[-1] for line in Comparison(whole, resumed).differences()] == [
        ".unfinished is left over",
        "more.npz is left over",
        "embeddings.npz is missing",
        "history.jsonl: 0.tau is 0.999 and not 0.99",
        "seed-PART-ep=3.ckpt: state_dict.weight is "
        "tensor([1.0000, 1.0000]) and not tensor([1., 1.])",
    ]
    assert len(Comparison(whole, resumed).differences(kept=["runs/seed"])) == 2


def test_equal_is_by_bits() -> None:
    nan = float("nan")
    assert same(nan, nan) and same(torch.tensor([nan]), torch.tensor([nan]))
    assert not same(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same(torch.ones(2), torch.ones(2).double()) and not same(1, 1.0)
    assert not same(torch.ones(2, 1), torch.ones(2)) and same(torch.empty(0), torch.empty(0))
    assert not same(np.zeros(2), -np.zeros(2)) and same(True, True)


def test_a_torn_file_is_found_under_its_final_name_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert find_torn(folder) == []
    (checkpoint,) = folder.rglob("*.ckpt")
    whole = checkpoint.read_bytes()
    checkpoint.with_name(f"{checkpoint.name}.0a1b.unfinished").write_bytes(whole[:500])
    (checkpoint.parent / "args.json").write_text('{"lr"')  # which the host writes in place
    assert find_torn(folder) == []
    checkpoint.write_bytes(whole[:-500])
    (folder / "plan.json").write_text('{"a": 1')
    run = checkpoint.parents[3]
    (run / "embeddings.npz").write_bytes((run / "embeddings.npz").read_bytes()[:100])
    (run / "history.jsonl").write_text('{"epoch": 0}\n{"epo')
    names = [line.split(":")[0].split("/")[-1] for line in find_torn(folder)]
    assert sorted(names) == sorted(
        [checkpoint.name, "plan.json", "embeddings.npz", "history.jsonl"]
    )


ROW = {
    **{"host": "classic", "command": "compare", "arm": "seed", "trial": "0", "kind": "any"},
    **{"seconds": "9.5", "share": "0.50", "epochs": "2", "unfinished": "0", "ended": "0.01"},
    **{"equal": "yes", "differs": "", "commit": "abc", "machine": "a CPU, 2 cores, Linux"},
}


def test_rows_become_a_line_for_each_run(tmp_path: Path) -> None:
    path = tmp_path / "results" / "kill.csv"
    twice = {"trial": "2", "kind": "twice", "unfinished": "0+1"}
    add_row(path, ROW | {"host": "main"})
    add_row(path, ROW)
    add_row(path, ROW | twice | {"equal": "no", "differs": "a, b"})
    assert read_rows(path)[-1]["differs"] == "a, b"
    add_row(path, ROW | {"host": "main", "kind": ALONE, "trial": "5", "ended": "0.61"})
    lines = tables.killed(read_rows(path)).splitlines()
    assert lines[2:4] == [
        "| 1.0.2 | compare | seed | 2 | 1 | 0 | 1 | 0 | 1 | 1 of 2 |",
        "| main | compare | seed | 2 | 1 | 0 | 0 | 1 | 0 | 2 of 2 |",
    ]
    assert "was gone 0.6 s later" in lines[-1]


def test_the_page_has_the_table_of_the_results() -> None:
    begin, end = find_place(tables.PAGE, tables.PLACE)
    shown = tables.PAGE.read_text(encoding="utf-8")[begin:end].strip()
    assert shown == tables.killed(read_rows(kill.RESULTS))
    assert {row["equal"] for row in read_rows(kill.RESULTS)} == {"yes"}


@pytest.mark.trial
@pytest.mark.parametrize(
    "host",
    [
        "classic",
        pytest.param(MAIN, marks=pytest.mark.skipif(MAIN is None, reason="no SOLO_LEARN_HOME")),
    ],
    ids=["classic", "main"],
)
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(host: str, tmp_path: Path) -> None:
    if host == "classic":
        pytest.importorskip("solo", reason="solo-learn is not installed")
    results = tmp_path / "kill.csv"
    words = ["--host", host, "--commands", "compare", "--arms", "rekd online", "--kinds", WRITE]
    words += ["--work", str(tmp_path / "work"), "--results", str(results)]
    done = subprocess.run(
        [sys.executable, "-m", "reliability", "kill", *words],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
    )
    (row,) = read_rows(results)
    assert (done.returncode, row["equal"]) == (0, "yes"), (row["differs"], done.stderr)
    assert row["unfinished"] == "1"
