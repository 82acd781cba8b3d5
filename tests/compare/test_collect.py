import json
import os
from importlib.metadata import version

import pytest

from solo_rekd.compare.collect import collect, describe_machine, describe_versions
from solo_rekd.compare.images import Images
from solo_rekd.compare.protocol import describe_protocol

CONTEXT = {"command": "solo-rekd compare", "classes": ["a", "b"]}


def write_run(folder, top1, epochs=2):
    folder.mkdir(parents=True)
    result = {"knn": {"top1": top1}, "checkpoint": "pretrain/last.ckpt"}
    (folder / "result.json").write_text(json.dumps(result))
    lines = [json.dumps({"epoch": epoch, "seconds": 1.5}) for epoch in range(epochs)]
    (folder / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_every_run_is_in_its_list(plan, tmp_path):
    made = plan(arms="simclr,rekd+teacher_mode=online,disco", seeds=2)
    write_run(tmp_path / "runs/simclr/seed-0", 10)
    write_run(tmp_path / "runs/simclr/seed-1", 11)
    write_run(tmp_path / "runs/disco/seed-1", 12)
    write_run(tmp_path / "runs/seed/seed-0", 13)  # of an arm that is no longer asked for
    write_run(tmp_path / "runs/teacher/seed-0", 14, epochs=3)
    failed = {"runs/disco/seed-0": "ValueError: no"}
    comparison = collect(made, tmp_path, failed, CONTEXT)
    assert comparison["title"] == "Tiny"
    assert comparison["command"] == "solo-rekd compare"
    assert comparison["seeds"] == [0, 1]
    assert [arm["name"] for arm in comparison["arms"]] == [arm.name for arm in made.arms]
    online = {"name": "rekd+teacher_mode=online", "method": "rekd"}
    assert comparison["arms"][1] == online | {"settings": {"teacher_mode": "online"}}
    places = [(run["arm"], run["seed"], run["knn"]["top1"]) for run in comparison["runs"]]
    assert places == [("simclr", 0, 10), ("simclr", 1, 11), ("disco", 1, 12)]
    assert comparison["runs"][0]["folder"] == "runs/simclr/seed-0"
    last = tmp_path / "runs/simclr/seed-0/pretrain/last.ckpt"
    assert comparison["runs"][0]["checkpoint"] == str(last)
    assert [line["epoch"] for line in comparison["runs"][0]["history"]] == [0, 1]
    assert comparison["failed"] == [
        {
            "arm": "disco",
            "seed": 0,
            "reason": "ValueError: no",
            "log": "runs/disco/seed-0/log.txt",
        }
    ]
    waiting = [{"arm": "rekd+teacher_mode=online", "seed": seed} for seed in (0, 1)]
    assert comparison["unfinished"] == waiting
    assert comparison["teacher"]["knn"]["top1"] == 14
    assert len(comparison["teacher"]["history"]) == 3


def test_a_given_teacher_has_no_history(plan, tmp_path):
    write_run(tmp_path / "runs/teacher/seed-0", 14)
    (tmp_path / "runs/teacher/seed-0/history.jsonl").unlink()
    comparison = collect(plan(arms="disco"), tmp_path, {}, CONTEXT)
    assert comparison["teacher"]["history"] == []


@pytest.mark.parametrize("arms", ["simclr", "rekd+teacher_mode=online"])
def test_no_teacher_where_no_arm_needs_one(arms, plan, tmp_path):
    write_run(tmp_path / "runs/teacher/seed-0", 14)
    assert collect(plan(arms=arms), tmp_path, {}, CONTEXT)["teacher"] is None


def test_a_failed_teacher_is_told(plan, tmp_path):
    made = plan(arms="disco", seeds=1)
    comparison = collect(made, tmp_path, {"runs/teacher/seed-0": "RuntimeError: no"}, CONTEXT)
    told = {"arm": "teacher", "seed": 0, "reason": "RuntimeError: no"}
    assert comparison["failed"] == [told | {"log": "runs/teacher/seed-0/log.txt"}]
    assert comparison["unfinished"] == [{"arm": "disco", "seed": 0}]


def test_machine_and_versions(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine = describe_machine(3)
    assert (machine["cores"], machine["torch threads"]) == (str(os.cpu_count()), "3")
    assert machine["CPU"] and machine["GPU"]
    assert float(machine["memory"].removesuffix(" GiB")) > 0
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert describe_machine(3)["torch threads"] == "1"
    versions = describe_versions({"solo-learn": "1.0.2"})
    assert versions["torch"] == version("torch")
    assert versions["solo-learn"] == "1.0.2"
    assert {"solo-rekd", "torchvision", "timm"} < versions.keys()


def test_the_protocol_tells_what_is_shared(plan):
    images = Images(["a", "b", "c"], ["x"] * 48, ["y"] * 24)
    told = describe_protocol(plan(), images)
    assert (told["training images"], told["validation images"], told["classes"]) == (48, 24, 3)
    assert told["teacher mode"] == "frozen and online"
    assert told["frozen teacher"] == "trained by mocov2plus on the same images, 30 epochs"
    assert "lr 0.3 x batch / 256" in str(told["optimiser"])
    assert "min_scale 0.2" in str(told["augmentation"])
    given = describe_protocol(plan(arms="disco", teacher_checkpoint="/t.pt"), images)
    assert (given["frozen teacher"], given["teacher mode"]) == ("/t.pt", "frozen")
    assert "teacher" not in describe_protocol(plan(arms="simclr"), images)
