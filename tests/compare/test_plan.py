import json

import pytest

from solo_rekd.compare.arms import parse_arm
from solo_rekd.compare.plan import Plan, Run, check_same
from solo_rekd.utils.errors import UserError


def test_a_plan_is_the_same_after_json(plan):
    before = plan(arms="rekd+own_weight=1,simclr", extra=("--precision", "16"))
    assert Plan.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_runs_go_seed_by_seed(plan):
    runs = plan(arms="simclr,rekd", seeds=2).runs
    order = [("simclr", 0), ("rekd", 0), ("simclr", 1), ("rekd", 1)]
    assert [(run.arm.name, run.seed) for run in runs] == order
    later = plan(arms="rekd", seeds=2, first_seed=3)
    assert [run.seed for run in later.runs] == list(later.all_seeds) == [3, 4]


def test_a_folder_is_the_arms_name_and_one_folder_deep():
    assert Run(parse_arm("rekd+own_weight=1"), 3).folder == "runs/rekd+own_weight=1/seed-3"
    folder = Run(parse_arm("disco+teacher_checkpoint=../a b/t.pt"), 0).folder
    assert folder == "runs/disco+teacher_checkpoint=..%2Fa%20b%2Ft.pt/seed-0"


def test_a_preset_is_part_of_the_folder_and_of_the_plan(plan):
    assert Run(parse_arm("seed:lightly+lr=0.1"), 1).folder == "runs/seed%3Alightly+lr=0.1/seed-1"
    before = plan(arms="seed,seed:lightly,rekd:no-relation")
    assert Plan.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_folders_of_long_arms_are_short_and_differ():
    arms = [f"disco+teacher_checkpoint={'/folder' * 40}/{name}.pt" for name in "ab"]
    folders = {Run(parse_arm(arm), 0).folder for arm in arms}
    assert len(folders) == 2
    assert all(len(folder.split("/")[1].encode()) <= 200 for folder in folders)


@pytest.mark.parametrize(
    ("arms", "distils", "frozen"),
    [
        ("simclr", False, False),
        ("simclr,rekd+teacher_mode=online", True, False),
        ("rekd,simclr", True, True),
        ("bingo+teacher_checkpoint=t.pt", True, False),
    ],
)
def test_which_plan_needs_a_teacher(arms, distils, frozen, plan):
    made = plan(arms=arms)
    assert (made.distils, made.has_frozen_teacher) == (distils, frozen)


def write(plan, path):
    path.write_text(json.dumps(plan.to_json()))
    return path


def test_arms_seeds_workers_and_speed_may_change(plan, tmp_path):
    first = plan()
    assert check_same(first, tmp_path / "none.json") == first
    path = write(plan(arms="rekd", seeds=1), tmp_path / "plan.json")
    speed = {"memory_format": "contiguous", "compile": True}
    second = check_same(
        plan(arms="simclr,rekd", seeds=3, first_seed=1, num_workers=5, title="New", **speed), path
    )
    assert [arm.name for arm in second.arms] == ["simclr", "rekd"]
    assert (second.seeds, second.num_workers, second.title) == (3, 5, "New")
    assert (second.memory_format, second.compile) == ("contiguous", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 21, "teacher_epochs": 21}, "epochs=21 differs from 20 in "),
        ({"teacher": "resnet18"}, "teacher='resnet18' differs from 'resnet50' in "),
        ({"mean": (0.5, 0.5, 0.5)}, "mean=(0.5, 0.5, 0.5) differs from (0.5, 0.4, 0.3) in "),
        ({"extra": ("--lars",)}, "extra=('--lars',) differs from () in "),
        ({"images": "9 + 9, sha256 1"}, "images='9 + 9, sha256 1' differs from '48 + 24, sha256 0"),
    ],
)
def test_any_other_change_is_refused(changes, message, plan, tmp_path):
    path = write(plan(), tmp_path / "plan.json")
    with pytest.raises(UserError) as raised:
        check_same(plan(**changes), path)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arms": ["nonesuch"]}', '{"arms": ["rekd"]}'])
def test_a_plan_of_another_kind_is_refused(text, plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a plan of this version"):
        check_same(plan(), path)
