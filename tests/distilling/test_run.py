"""Real runs of a few photos: interrupted, resumed, finished, and what they end with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import command

from solo_rekd.distilling.request import Request
from solo_rekd.utils.errors import UserError

FILES = ("student.safetensors", "student.onnx", "student.int8.onnx", "report.html", "README.md")


def check_run(asked: Any, tmp_path: Path, caplog: Any, capsys: Any, host: str | None) -> None:
    """Interrupts a run in its second epoch, resumes it, and looks at what it ends with."""
    from solo_rekd.distilling.run import run

    out, said = tmp_path / "run", []
    given = {"epochs": 3, "int8": True, "host": host, "crop_size": 32, "teacher_size": 32}
    request: Request = asked(**given)

    def stop_in_second(line: str) -> None:
        said.append(line)
        if line.startswith("epoch 2/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request, stop_in_second)
    assert any("given" in line and "batch_size" in line for line in said)  # the table
    assert not [name for name in FILES if (out / name).exists()]

    said.clear()
    made = run(request, said.append)
    assert any("after epoch 1 of 3" in line for line in said)
    assert [line.split(":")[0] for line in said if line.startswith("epoch ")] == [
        "epoch 2/3",
        "epoch 3/3",
    ]
    assert len([*out.glob("pretrain/*/*/*.ckpt")]) == 1
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [-1, 0, 1, 2]  # before the first step, and after
    assert {"agreement", "effective_rank", "loss"} <= lines[-1].keys()
    assert len((out / "history.csv").read_text().splitlines()) == 5
    assert {*FILES} == {*made.files} and all(path.is_file() for path in made.files.values())
    assert {"agreement by chance", "int8: agreement lost"} <= made.figures.keys()
    card, page = ((out / name).read_text() for name in ("README.md", "report.html"))
    plan = json.loads((out / "plan.json").read_text())
    for text in (plan["teacher"]["sha256"], "36 for training, 4 held out", "1 .md", "int8"):
        assert text in card
    assert page.count("data:image/jpeg") > 8 and "<svg" in page and "http://www.w3" in page
    assert not [*out.rglob("*.unfinished")]

    # all is there: nothing is written anew; then one file is missing
    before = {path: path.stat().st_mtime_ns for path in made.files.values()}
    said.clear()
    run(request, said.append)
    assert any("nothing is missing" in line for line in said)
    (out / "student.onnx").unlink()
    run(request, said.append)
    changed = [p.name for p, time in before.items() if p.stat().st_mtime_ns != time]
    assert changed == ["student.onnx"]

    # as a kill leaves it between the network in 8 bits and its figures
    known = (out / "figures.json").read_text()
    (out / "figures.json").unlink()
    run(request, said.append)
    assert (out / "figures.json").read_text() == known

    with pytest.raises(UserError, match="epochs=4 was 3"):
        run(asked(**given | {"epochs": 4}), said.append)

    capsys.readouterr()
    command("embed", out, tmp_path / "photos", tmp_path / "all.npy", "--workers", "0")
    features = np.load(tmp_path / "all.npy")
    paths = (tmp_path / "all.paths.txt").read_text().splitlines()
    assert features.shape[0] == len(paths) == 40 and np.isfinite(features).all()
    assert "40 photos" in capsys.readouterr().out

    # the student of a run begins the next
    start = str(out / "student.safetensors")
    further = asked(**given | {"epochs": 1, "int8": False}, student_checkpoint=start)
    made = run(dataclasses.replace(further, out=str(tmp_path / "next")), said.append)
    line = json.loads((tmp_path / "next" / "history.jsonl").read_text().splitlines()[0])
    assert line["agreement"] == pytest.approx(lines[-1]["agreement"], abs=1e-4)  # before a step
    assert "agreement of the starting network" in made.figures
    assert "The student starts from student.safetensors" in made.files["README.md"].read_text()


@pytest.mark.slow
def test_a_run_of_the_classic_host(
    asked: Any, tmp_path: Path, caplog: Any, capsys: Any, host: Any
) -> None:
    check_run(asked, tmp_path, caplog, capsys, "classic")


def test_a_refused_run_leaves_nothing(asked: Any, tmp_path: Path, host: Any) -> None:
    from solo_rekd.distilling.run import run

    for changes in ({"batch_size": 37}, {"settings": {"nothing": 1}}, {"student": "resnet51"}):
        with pytest.raises(UserError):
            run(asked(host="classic", **changes), lambda line: None)
        assert not (tmp_path / "run").exists()


def test_a_run_without_a_checkpoint_may_begin_anew_with_other_settings(tmp_path: Path) -> None:
    from solo_rekd.distilling.plan import Plan
    from solo_rekd.distilling.run import begun

    assert begun(tmp_path) is None
    plan = Plan({}, [], {}, {}, {"name": "classic"}, "solo-rekd distil")
    plan.write(tmp_path)
    assert begun(tmp_path) is None
    checkpoint = tmp_path / "pretrain" / "rekd" / "a" / "rekd-a-ep=0.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert begun(tmp_path) == plan


def test_a_folder_with_something_else_is_refused_and_kept(
    asked: Any, photos: Path, tmp_path: Path
) -> None:
    from solo_rekd.distilling.run import run

    before = sorted(tmp_path.rglob("*"))
    for out in (tmp_path, photos, photos / "deep" / "run", photos / "notes.md"):
        with pytest.raises(UserError, match=r"^out="):
            run(asked(out=str(out)), lambda line: None)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_was_killed_before_its_plan_begins_again(photos: Path, tmp_path: Path) -> None:
    from solo_rekd.distilling.run import _refuse_strange
    from solo_rekd.images.photos import build_index

    out = tmp_path / "run"
    out.mkdir()
    for left in (".lock", "plan.json.0a1b2c3d.unfinished"):
        (out / left).touch()
    _refuse_strange(out, "run")
    build_index([photos], out / "photos").split(4, 0)
    (out / "photos" / "left_out.csv.0a1b2c3d.unfinished").touch()
    _refuse_strange(out, "run")
    for strange in (out / "photos" / "mine.jpg", out / "notes.txt"):
        strange.touch()
        with pytest.raises(UserError, match=r"^out="):
            _refuse_strange(out, "run")
        strange.unlink()
    (out / ".lock").unlink()
    with pytest.raises(UserError, match=r"^out="):  # somebody's own index of photos
        _refuse_strange(out, "run")
