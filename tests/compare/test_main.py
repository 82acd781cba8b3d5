import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from solo_rekd.compare import main as module
from solo_rekd.compare.plan import TEACHER_FOLDER
from solo_rekd.images.decoded.index import find
from solo_rekd.utils.errors import UserError

# Wrong only when the teacher is there: its embeddings have 128 dimensions.
FAILING = "rekd+num_prototypes=4+proj_output_dim=64"


def test_networks_are_measured_once(plan, tmp_path):
    path = tmp_path / "networks.json"
    first = module.measure_networks(plan(arms="simclr"), path)
    assert (first["student"]["name"], first["teacher"]) == ("alexnet", None)
    made = plan(teacher="timm:resnet10t")
    second = module.measure_networks(made, path)
    assert second["student"] == first["student"]  # its latency would differ
    assert second["teacher"]["name"] == "timm:resnet10t"
    assert second["input_size"] == 32
    assert module.measure_networks(made, path) == second == json.loads(path.read_text())


@pytest.mark.parametrize("change", ["student", "stem", "crop_size", "version", "damage"])
def test_other_networks_are_measured_anew(change, plan, tmp_path, monkeypatch):
    path = tmp_path / "networks.json"
    measured = []

    def measure(name, size, stem):
        measured.append((name, size, stem))
        return {"name": name}

    monkeypatch.setattr(module, "measure", measure)
    module.measure_networks(plan(arms="simclr"), path)
    changes = {"student": "resnet18", "stem": "small", "crop_size": 64}
    if change == "version":
        monkeypatch.setattr(module, "describe_versions", lambda host: {"torch": "0.1"})
    elif change == "damage":
        path.write_text(path.read_text()[:-20])
    made = {change: changes[change]} if change in changes else {}
    module.measure_networks(plan(arms="simclr", **made), path)
    assert len(measured) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("--methods rekt", "methods='rekt' is not allowed"),
        (
            "--methods rekd+relation_view=views+num_prototypes=100",
            "rekd+relation_view=views+num_prototypes=100: num_prot",
        ),
        ("--student resnet19", "student='resnet19' is not allowed"),
        ("--teacher resnet19", "teacher='resnet19' is not allowed"),
        (
            "--batch_size 64",
            "batch_size=64 is not allowed: expected at most 48, the number of training im",
        ),
        ("--val_dir two/val", "train and two/val hold different classes"),
        ("--out {data}/train/out", "out='{data}/train/out' is not allowed: expected a folder outs"),
        ("--lr inf", "argument --lr: inf is not finite"),
        (
            "--methods simclr --mean 123 116 103",
            "simclr: mean=123.0 is not allowed: expected",
        ),
        ("--methods simclr -- --precison 16", "simclr: unrecognized arguments: --precison 16"),
        (
            "--methods disco --teacher_checkpoint /no.pt",
            "teacher_checkpoint='/no.pt' is not allowed",
        ),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(changes, message, options, data, tmp_path):
    with pytest.raises(UserError) as raised:
        module.main([*options, *changes.format(data=data).split()])
    assert str(raised.value).startswith(message.format(data=data))
    assert not (tmp_path / "out").exists()
    assert not (data / "train" / "out").exists()


@pytest.mark.parametrize("link", [False, True], ids=["relative", "link"])
def test_every_run_finds_the_decoded_images(link, options, data, tmp_path, monkeypatch):
    """By the names in its flags, however the folder was named on the command line."""
    if link:
        (tmp_path / "link").symlink_to(data)
    else:
        monkeypatch.chdir(data.parent)
    listed = []
    monkeypatch.setattr(module.Schedule, "run", lambda schedule: listed.extend(schedule.tasks))
    named = tmp_path / "link" if link else data.name
    module.run([*options, "--data", str(named), "--methods", "simclr"])
    (job,) = [task.job() for task in listed]
    for part in (job["pretrain"], job["linear"]):
        for split in ("train", "val"):
            root = part["images"][split]
            folder, tensors = job["decoded_images"][root]
            names = [os.path.relpath(path, root) for path, _ in ImageFolder(root).samples]
            index = np.load(Path(folder) / "index.npy")
            assert len(index) == len(names)
            assert None not in [find(index, name) for name in names]
            assert tensors is False  # of 32 px


def test_images_that_change_on_the_way_are_noticed(options, data, tmp_path, monkeypatch):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    monkeypatch.setattr(module.Schedule, "run", lambda schedule: changed.write_bytes(other))
    changed = copy / "train" / "a" / "00.png"
    other = (copy / "train" / "a" / "01.png").read_bytes()
    with pytest.raises(UserError, match="changed during the runs"):
        module.run([*options, "--data", str(copy), "--methods", "simclr"])


def command(*options: str) -> list[str]:
    return [str(Path(sys.executable).with_name("solo-rekd")), "compare", *options]


def compare(*options: str) -> tuple[int, list[str], str]:
    """Runs `solo-rekd compare`: exit code, lines of standard output, standard error."""
    done = subprocess.run(command(*options), capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.trial
def test_end_to_end(options, tmp_path):
    out = tmp_path / "out"
    arms = ["--methods", f"mocov2plus,disco,{FAILING}", "--jobs", "2"]
    code, lines, _ = compare(*options, *arms)
    assert code == 2
    assert lines[0] == f"4 runs in {out}, 0 of them finished"
    failed = next(line for line in lines if line.startswith(f"{FAILING} seed 0 failed: "))
    assert "proj_output_dim=64 is not allowed: expected 128, the teacher's embedding" in failed
    assert failed.endswith(f"({out / 'runs' / FAILING / 'seed-0' / 'log.txt'})")
    for arm in ("teacher", "mocov2plus", "disco"):
        assert any(line.startswith(f"{arm} seed 0: linear ") for line in lines)
    assert lines[-3:] == [
        str(out / name) for name in ("report.html", "results.csv", "comparison.json")
    ]
    comparison = json.loads((out / "comparison.json").read_text())
    assert [run["arm"] for run in comparison["runs"]] == ["mocov2plus", "disco"]
    assert [run["arm"] for run in comparison["failed"]] == [FAILING]
    assert comparison["teacher"]["checkpoint"] in comparison["runs"][1]["pretrain"]["command"]
    for run in (comparison["teacher"], *comparison["runs"]):
        assert len(run["history"]) == 1
        for figure in ("linear_host", "linear_cached", "knn"):
            assert 0 <= run[figure]["top1"] <= 100
    assert "disco" in (out / "report.html").read_text()
    # the second call has nothing to do
    results = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/*.json")}
    code, lines, _ = compare(*options, "--methods", "disco,mocov2plus")
    assert code == 0
    assert lines[0] == f"3 runs in {out}, 3 of them finished"
    assert not any(" seed 0: " in line for line in lines)
    assert results == {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/*.json")}
    for run in comparison["runs"]:
        assert run["conditions"]["parts"][0]["torch"] == version("torch")
    assert comparison["differences"] == []
    assert comparison["runs"][0]["teacher_sha256"] is None
    taught = comparison["runs"][1]["teacher_sha256"]
    assert taught == comparison["teacher"]["checkpoint_sha256"]
    # a run of another version is kept, but reported
    result = out / "runs" / "disco" / "seed-0" / "result.json"
    content = result.read_text()
    result.write_text(content.replace(f'"torch": "{version("torch")}"', '"torch": "0.1"'))
    code, lines, _ = compare(*options, "--methods", "disco,mocov2plus")
    difference = (
        f"torch differs between runs: {version('torch')} (teacher seed 0, mocov2plus seed 0)"
    )
    assert f"{difference}; 0.1 (disco seed 0)" in lines
    assert "0.1 (disco seed 0)" in (out / "report.html").read_text()
    # other images of the same length are another comparison
    first, second = sorted(Path(options[1]).glob("train/*/*.png"))[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    code, lines, err = compare(*options, "--methods", "disco,mocov2plus", "--seeds", "2")
    first.write_bytes(kept)
    assert (code, lines) == (2, [])
    assert err.startswith("solo-rekd: error: images='48 + 24, sha256 ")
    # another budget is too
    code, lines, err = compare(*options, "--epochs", "2", "--methods", "disco")
    assert (code, lines) == (2, [])
    assert err.startswith("solo-rekd: error: epochs=2 differs from 1 in ")
    assert err.count("\n") == 1
    # and another teacher
    (out / TEACHER_FOLDER / "result.json").unlink()
    code, lines, err = compare(*options, "--methods", "disco")
    assert (code, lines) == (2, [])
    assert "runs/disco/seed-0 learned from a different teacher than" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on(options, tmp_path):
    options = [*options, "--epochs", "8", "--methods", "mocov2plus"]
    folder = tmp_path / "out" / "runs" / "mocov2plus" / "seed-0"
    history = folder / "history.jsonl"
    process = subprocess.Popen(
        command(*options),
        stdout=subprocess.PIPE,
        text=True,
        # also where the tests themselves run in background, which ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    # the second epoch's line: the first one's checkpoint is whole then
    while not (history.exists() and history.read_text().count("\n") > 1):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stdout is not None
    assert process.stdout.read().splitlines()[-1].startswith("stopped: the same command")
    assert not list(tmp_path.rglob("*.unfinished"))
    assert not (folder / "result.json").exists()
    before = [json.loads(line) for line in history.read_text().splitlines()]
    code, *_ = compare(*options)
    assert code == 0
    after = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["epoch"] for line in after] == list(range(8))
    assert after[0] == before[0]
    assert os.path.exists(tmp_path / "out" / "report.html")
