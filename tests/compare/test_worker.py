import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from command import judge
from full_disk import FULL, full_disk
from mistakes import ERROR
from processes import is_alive

from solo_rekd.checkpoints import read_checkpoint
from solo_rekd.compare.worker import StageProgress, main, reason, work
from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    View,
    to_json,
)
from solo_rekd.hosts.shared.saved import CHECKPOINTS, newest_whole
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import UNFINISHED

Flags = Callable[..., list[str]]
HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8}
DISTILLED = HEAD | {"queue_size": 24, "teacher": "timm:resnet10t"}
DISTILLED |= {"num_prototypes": 4, "teacher_warmup_epochs": 0}
SETTINGS = {"simclr": HEAD, "mocov2plus": HEAD | {"queue_size": 24}}
Job = Callable[..., Path]


def tiny(method: str, data: Path, **changes: Any) -> Pretraining:
    """A pretraining of seconds."""
    settings = dict(SETTINGS.get(method, DISTILLED))
    settings |= {name: changes.pop(name) for name in ("own_weight",) if name in changes}
    images = Images(
        str(data / "train"),
        str(data / "val"),
        size=32,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        workers=changes.pop("workers", 0),
    )
    job = Pretraining(
        method=method,
        network=Network("alexnet"),
        images=images,
        views=(View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=0, min_scale=0.5),),
        optimizer=Optimizer("sgd", 0.1 * 8 / 256, schedule="none"),
        batch_size=8,
        epochs=1,
        classifier_lr=0.01,
        settings=settings,
        host={"name": method, "accelerator": "cpu"},
    )
    return dataclasses.replace(job, **changes)


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Job:
    """Writes the job of a tiny run: job("rekd", epochs=2), in a folder of its own."""

    def write(
        method: str | None,
        folder: str = "rekd+own_weight=0.5/seed-0",
        images: Path | None = None,
        **changes: Any,
    ) -> Path:
        run = tmp_path / folder
        run.mkdir(parents=True, exist_ok=True)
        judged = tiny("simclr", data)
        linear = LinearEvaluation(
            "", judged.network, judged.images, Optimizer("sgd", 0.02, schedule="none"), 8, 2
        )
        content = {
            "host": "classic",
            "pretrain": method and to_json(tiny(method, images or data, **changes)),
            "checkpoint": None,
            "linear": to_json(linear),
            "knn": {"k": 3, "temperature": 0.07},
            "teacher_sha256": None,
            "decoded_images": {},
        }
        (run / "job.json").write_text(json.dumps(content))
        return run

    return write


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def history(run: Path) -> list[str]:
    return (run / "history.jsonl").read_text().splitlines()


def figures(run: Path) -> dict[str, float]:
    """Everything of a result that a seed decides."""
    result = read(run, "result.json")
    found = {"loss": json.loads(history(run)[-1])["train_class_loss"]}
    for part in ("linear_host", "linear_cached", "knn"):
        found |= {f"{part} {name}": result[part][name] for name in ("top1", "top5")}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rekd", "mocov2plus"])
def test_whole_job(method: str, job: Job, host: ModuleType, flags: Flags) -> None:
    run = job(method, epochs=2)
    work(run)
    result = read(run, "result.json")

    took = result["pretrain"]
    lines = [json.loads(line) for line in history(run)]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert took["seconds"] == pytest.approx(sum(line["seconds"] for line in lines))
    assert took["images_per_second"] == pytest.approx(2 * 48 / took["seconds"])
    assert took["epochs"] == 2
    assert took["peak_memory_bytes"] == lines[1]["peak_memory_bytes"]
    assert took["command"].startswith("solo-rekd pretrain --host classic --data_dir ")

    (checkpoint,) = run.glob(f"pretrain/{method}/*/*-ep=1.ckpt")
    assert result["checkpoint"] == str(checkpoint.relative_to(run))
    argv = flags("knn", k=3, pretrained_feature_extractor=checkpoint)
    for name in ("top1", "top5", "k", "temperature", "protocol"):
        assert result["knn"][name] == judge(argv).knn[name]
    assert "cached features" in result["linear_cached"]["protocol"]
    for part in ("few_label", "few_label_1pct"):
        assert 0 <= result[part]["top1"] <= 100
    assert "2 epochs" in result["linear_host"]["protocol"]
    for part in ("linear_host", "linear_cached", "knn"):
        assert 0 <= result[part]["top1"] <= result[part]["top5"] == 100
        assert result[part]["seconds"] > 0
    for part, name in (("linear_host", "linear"), ("knn", "knn")):
        assert result[part]["command"].startswith(f"solo-rekd {name} ")
        assert str(checkpoint) in result[part]["command"]

    progress = read(run, "progress.json")
    assert (progress["stage"], progress["done"]) == ("done", 1)

    kept = np.load(run / "embeddings.npz", allow_pickle=False)
    features = judge(argv).splits["val"].features.numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert kept["features"].dtype == np.float16
    np.testing.assert_allclose(kept["features"], expected, atol=1e-3)
    assert kept["labels"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert kept["classes"].tolist() == ["a", "b", "c"]
    assert not list(run.glob("*.unfinished"))


@pytest.mark.slow
def test_a_seed_decides_every_figure(job: Job) -> None:
    runs = [job("rekd", folder, seed=3) for folder in ("first", "second")]
    for run in runs:
        work(run)
    assert figures(runs[0]) == figures(runs[1])


def lengthen(run: Path) -> None:
    """Makes of a run of one epoch one of two that was interrupted after the first."""
    conditions = read(run, "conditions.json")
    conditions["settings"]["max_epochs"] = 2
    (run / "conditions.json").write_text(json.dumps(conditions))


@pytest.mark.slow
def test_unfinished_pretraining_goes_on_and_a_finished_one_is_kept(job: Job) -> None:
    run = job("mocov2plus")
    work(run)
    (line,) = history(run)
    lengthen(run)
    job("mocov2plus", epochs=2)
    work(run)
    first, second = history(run)
    assert first == line
    assert json.loads(second)["epoch"] == 1
    (kept,) = run.glob("pretrain/*/*/*.ckpt")  # that of the first part is superseded
    assert read(run, "result.json")["checkpoint"] == str(kept.relative_to(run))
    assert kept.name.endswith("-ep=1.ckpt")

    found = figures(run)
    stamps = {path: path.stat().st_mtime_ns for path in run.glob("pretrain/*/*/*")}
    work(run)
    assert {path: path.stat().st_mtime_ns for path in run.glob("pretrain/*/*/*")} == stamps
    assert history(run) == [first, second]
    assert figures(run) == found


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_settings(job: Job) -> None:
    run = job("rekd", seed=3)
    work(run)
    job("rekd", seed=3, workers=1)  # which it may
    work(run)
    conditions = read(run, "result.json")["conditions"]
    assert [part["num_workers"] for part in conditions["parts"]] == ["0", "1"]
    assert conditions["settings"]["seed"] == 3
    (run / "result.json").unlink()
    job("rekd", seed=3, own_weight=0.25)
    with pytest.raises(UserError, match=r"own_weight=0.25 differs from .*, which .* began with"):
        work(run)
    (run / "conditions.json").unlink()
    with pytest.raises(UserError, match=r"holds checkpoints, but conditions.json does not record"):
        work(run)
    assert not (run / "result.json").exists()


@pytest.mark.slow
def test_a_default_that_changed_is_another_setting(job: Job) -> None:
    run = job("rekd")
    work(run)
    conditions = read(run, "conditions.json")
    assert "own_weight" not in read(run, "job.json")["pretrain"]["settings"]
    conditions["settings"]["own_weight"] += 0.125
    (run / "conditions.json").write_text(json.dumps(conditions))
    with pytest.raises(UserError, match=r"own_weight=.* differs from"):
        work(run)


def test_a_teacher_that_was_replaced_is_refused(
    job: Job, online: dict[str, Any], tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.ckpt"
    shutil.copy(online["checkpoint"], teacher)
    run = job(None)
    content = read(run, "job.json") | {"checkpoint": str(teacher)}
    digest = read_checkpoint(teacher)[1]
    (run / "job.json").write_text(json.dumps(content | {"teacher_sha256": digest}))
    work(run)
    result = read(run, "result.json")
    assert (result["checkpoint_sha256"], result["teacher_sha256"]) == (digest, None)
    (run / "job.json").write_text(json.dumps(content | {"teacher_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"teacher.ckpt has changed since its comparison began"):
        work(run)
    teacher.unlink()
    with pytest.raises(UserError, match=r"teacher.ckpt does not exist"):
        work(run)


@pytest.mark.slow
def test_a_half_written_checkpoint_is_passed_over(job: Job) -> None:
    run = job("simclr")
    work(run)
    (line,) = history(run)
    whole = newest_whole((run / "pretrain").glob(CHECKPOINTS))
    whole.with_name(f"{whole.name}.0a1b.unfinished").touch()  # by a kill
    half = whole.with_name(whole.name.replace("-ep=0", "-ep=1"))
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert newest_whole((run / "pretrain").glob(CHECKPOINTS)) == whole
    lengthen(run)
    job("simclr", epochs=2)
    work(run)
    assert history(run)[0] == line
    assert len(history(run)) == 2
    newest = newest_whole((run / "pretrain").glob(CHECKPOINTS))
    assert newest.name.endswith("-ep=1.ckpt")
    assert newest != half
    assert [path for path in run.glob("pretrain/*/*/*") if path.suffix != ".json"] == [newest]


def test_given_checkpoint_is_only_evaluated(job: Job, online: dict[str, Any]) -> None:
    run = job(None)
    content = read(run, "job.json") | {"checkpoint": online["checkpoint"]}
    (run / "job.json").write_text(json.dumps(content))
    work(run)
    result = read(run, "result.json")
    assert result["pretrain"] is None
    assert result["checkpoint"] == online["checkpoint"]
    assert result["knn"]["top5"] == 100
    assert not (run / "history.jsonl").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"own_weight": 2}, "own_weight=2.0 is not allowed: expected a number from 0 to 1"),
        ({"images": Path("/nowhere")}, "/nowhere/train: No such file or directory"),
    ],
)
def test_mistake_is_one_line(
    wrong: dict[str, Any],
    message: str,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = job("rekd", **wrong)
    monkeypatch.setattr("sys.argv", ["worker", str(run)])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"solo-rekd: error: {message}")
    assert not (run / "result.json").exists()


def test_the_traceback_of_a_mistake_is_in_the_log_where_it_is_asked_for(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOLO_REKD_TRACEBACK", "1")
    monkeypatch.setattr("sys.argv", ["worker", str(job("rekd", own_weight=2))])
    assert main() == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in before
    assert last.startswith("solo-rekd: error: own_weight=2.0")


def in_its_process(run: Path) -> tuple[int, str, str]:
    """Works as the parent has it done: exit code, the log of both streams, and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "solo_rekd.compare.worker", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, re.split(r"[\r\n]", done.stdout.rstrip())[-1]


@pytest.mark.slow
def test_mistake_in_the_middle_is_one_line(job: Job, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "train", tmp_path / "broken" / "train")
    shutil.copytree(data / "val", tmp_path / "broken" / "val")
    broken = tmp_path / "broken" / "train" / "b" / "07.png"
    broken.write_bytes(b"no image")
    run = job("simclr", images=tmp_path / "broken", workers=1)
    code, log, last = in_its_process(run)
    assert code == 2
    assert "Traceback" not in log
    assert last.startswith(f"solo-rekd: error: {broken} cannot be decoded: cannot identify image")
    assert not (run / "result.json").exists()


@pytest.mark.slow
def test_failure_in_the_middle_ends_with_its_reason(job: Job) -> None:
    run = job("simclr")
    content = read(run, "job.json")
    del content["knn"]["temperature"]  # which is read after the training
    (run / "job.json").write_text(json.dumps(content))
    code, log, last = in_its_process(run)
    assert code == 1
    assert "Traceback" in log
    assert last.startswith("TypeError: ")
    assert "temperature" in last
    assert not (run / "result.json").exists()


def test_a_full_disk_is_one_line(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = job("simclr")
    monkeypatch.setattr("sys.argv", ["worker", str(run)])
    with full_disk():
        code = main()
    last = capsys.readouterr().err.splitlines()[-1]
    assert (code, last.startswith(f"{ERROR}{run}"), last.endswith(FULL)) == (2, True, True), last
    assert [*run.rglob(f"*{UNFINISHED}")] == []
    assert not (run / "result.json").exists()


# starts a run as a comparison does, and dies without a word while that still imports
KILLED = """
import json, os, sys
from pathlib import Path
from solo_rekd.compare.schedule import Schedule, Task
folder = Path(sys.argv[1])
task = Task("a", 0, folder, lambda: json.loads((folder / "job.json").read_text()))
print(Schedule([task], 1, print)._launch(task).handle.popen.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_run_ends_with_its_comparison(job: Job) -> None:
    run = job("simclr", epochs=1000)
    parent = subprocess.run([sys.executable, "-c", KILLED, run], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout)
    deadline = time.monotonic() + 120
    while is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Error" not in (run / "log.txt").read_text()  # it did not end by itself


def test_reason_is_one_line() -> None:
    assert reason(KeyError("a")) == "KeyError: 'a'"
    assert reason(RuntimeError("first\n  second\nValueError: last\n")) == (
        "RuntimeError: first ... ValueError: last"
    )
    assert reason(ValueError()) == "ValueError: "


def test_progress_is_of_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("solo_rekd.compare.worker.time.perf_counter", lambda: now[0])
    progress = StageProgress(tmp_path / "p+=.json", {"pretrain": 6, "features": 3, "linear": 1})

    def told() -> tuple[str, float, float]:
        return tuple(json.loads((tmp_path / "p+=.json").read_text()).values())

    tell = progress.of("pretrain", 0.5)
    assert told() == ("pretrain", pytest.approx(0.3), 0)
    now[0] += 0.9
    tell(0.7)
    assert told() == ("pretrain", pytest.approx(0.3), 0)  # at most once a second
    now[0] += 0.1
    tell(0.8)
    assert told() == ("pretrain", pytest.approx(0.48), 1)
    tell = progress.of("linear")
    assert told() == ("linear", pytest.approx(0.9), 1)
    now[0] += 2
    tell(1)
    assert told() == ("linear", 1, 3)
    assert os.listdir(tmp_path) == ["p+=.json"]


@pytest.mark.parametrize("method", [None, "mocov2plus"])
def test_the_loader_is_a_condition_of_a_run(method: str | None, job: Job, moco: Any) -> None:
    run = job(method)
    if method is None:
        content = read(run, "job.json")
        content |= {"checkpoint": moco["checkpoint"]}
        content["linear"]["network"] = {"name": "resnet18", "stem": "imagenet"}
        (run / "job.json").write_text(json.dumps(content))
    work(run)
    (part,) = read(run, "conditions.json")["parts"]
    assert part["image loader"] == "torchvision"
    assert part["images resized by"] == "torchvision, on pictures"


@pytest.mark.slow
def test_a_whole_job_by_dali(job: Job) -> None:
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")
    run = job("rekd")
    content = read(run, "job.json")
    for part in ("pretrain", "linear"):
        content[part]["images"]["dali"] = "gpu"  # on the CPU where there is none
    (run / "job.json").write_text(json.dumps(content))
    work(run)
    conditions = read(run, "conditions.json")
    assert conditions["settings"]["dali"] is True
    assert conditions["parts"][0]["image loader"].startswith("DALI ")
    assert 0 <= read(run, "result.json")["linear_host"]["top1"] <= 100
    words = read(run, "result.json")["linear_host"]["command"].split()
    assert words[words.index("--dali_device") + 1] == "gpu" and "--dali" in words
