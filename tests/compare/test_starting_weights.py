"""A comparison whose students start from a file: its plan, its runs and its report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.compare import checks
from solo_rekd.compare.arms import STARTING, parse_arm
from solo_rekd.compare.collect import label
from solo_rekd.compare.images import find_images
from solo_rekd.compare.options import read_options
from solo_rekd.compare.plan import check_same
from solo_rekd.compare.report.verdict import floor, list_arms
from solo_rekd.compare.tasks import list_tasks
from solo_rekd.compare.worker import refuse_replaced
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import sha256


@pytest.fixture
def weights(tmp_path):
    """A student of main's with the first layers for small images."""
    path = tmp_path / "student.pth"
    torch.manual_seed(99)
    state = build_backbone("resnet18", 32).state_dict()
    state = {f"backbone.{key}": value for key, value in state.items()}
    state |= {"classifier.weight": torch.ones(2), "projector.0.weight": torch.ones(2, 512)}
    torch.save(state, path)
    return path


def make(options, data, host, *words):
    parsed, extra = read_options([*options, "--methods", "untrained,simclr,byol,disco", *words])
    return checks.make_plan(parsed, extra, find_images(data, "train", "val"), host)


def test_every_student_starts_from_the_file(options, data, names_only, weights, tmp_path):
    words = ["--student", "resnet18", "--crop_size", "96", "--student_checkpoint", str(weights)]
    plan = make(options, data, names_only, *words)
    assert (plan.stem, plan.student_sha256) == ("small", sha256(weights))
    assert plan.student_format == "solo-learn current"
    teacher, untrained, *others = list_tasks(plan, names_only, tmp_path, {})
    assert untrained.arm == STARTING and untrained.folder.parent.name == "untrained"
    job = untrained.job()
    assert (job["pretrain"], job["checkpoint"]) == (None, str(weights))
    assert job["student_sha256"] == plan.student_sha256
    assert teacher.job()["pretrain"]["student_checkpoint"] is None
    assert teacher.job()["student_sha256"] is None
    for task in others[:2]:
        assert task.job()["pretrain"]["student_checkpoint"] == str(weights)
        assert task.job()["pretrain"]["network"] == {"name": "resnet18", "stem": "small"}


def test_another_file_is_another_comparison(options, data, names_only, weights, tmp_path):
    words = ["--student", "resnet18", "--student_checkpoint", str(weights)]
    plan = make(options, data, names_only, *words)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert check_same(plan, path) == plan
    with pytest.raises(UserError, match="student_checkpoint=None differs"):
        check_same(
            make(options, data, names_only, "--student", "resnet18", "--stem", "small"), path
        )
    torch.save({k: v + 1 for k, v in torch.load(weights).items()}, weights)
    with pytest.raises(UserError, match="student_sha256="):
        check_same(make(options, data, names_only, *words), path)
    with pytest.raises(UserError, match="has changed since"):
        refuse_replaced(plan.student_sha256, str(weights))


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("--student alexnet --student_checkpoint {}", "student_checkpoint=.*looks like resnet18"),
        ("--student resnet18 --stem imagenet --student_checkpoint {}", "stem='imagenet'.*small"),
        ("--student resnet18 --student_checkpoint /no.pth", "student_checkpoint=.*does not exist"),
        ("-- --student_checkpoint {}", "student_checkpoint after -- is set by the comparison"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(words, fragment, options, data, names_only, weights):
    with pytest.raises(UserError, match=fragment):
        make(options, data, names_only, *words.format(weights).split())


def test_the_untrained_arm_is_called_what_it_is(plan):
    arm = parse_arm("untrained")
    assert label(arm, plan()) == "untrained"
    assert label(arm, plan(student_checkpoint="/s.pth")) == STARTING
    runs = [
        {"arm": name, "seed": 0, "linear_cached": {"top1": top1}}
        for name, top1 in ((STARTING, 50.0), ("simclr", 40.0))
    ]
    arms = [
        {"name": STARTING, "method": "untrained"},
        {"name": "simclr", "method": "simclr"},
    ]
    first, second = list_arms({"arms": arms, "runs": runs})
    assert (first.competes, second.competes) == (False, True)
    (told,) = floor([first, second], "linear_cached.top1")
    assert told.startswith("The starting weights reach 50.00 %") and told.endswith(": simclr.")


@pytest.mark.trial
def test_end_to_end(options, weights, tmp_path):
    start = ["--student", "resnet18", "--student_checkpoint", str(weights)]
    words = [*options, *start, "--methods", "untrained,simclr", "--jobs", "2"]
    command = [str(Path(sys.executable).with_name("solo-rekd")), "compare", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["arm"] for run in comparison["runs"]] == [STARTING, "simclr"]
    untrained, trained = comparison["runs"]
    assert untrained["pretrain"] is None
    assert untrained["checkpoint_sha256"] == sha256(weights)
    for run in (untrained, trained):
        for figure in ("linear_host", "linear_cached", "knn"):
            assert 0 <= run[figure]["top1"] <= 100
    assert f"--student_checkpoint {weights}" in trained["pretrain"]["command"]
    assert sha256(weights)[:12] in comparison["protocol"][STARTING]
    assert STARTING in (tmp_path / "out" / "report.html").read_text()
    record = torch.load(trained["checkpoint"], weights_only=True)["solo_rekd"]["settings"]
    assert record["solo_rekd"]["student_checkpoint"] == sha256(weights)
