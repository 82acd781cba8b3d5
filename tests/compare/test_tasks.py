"""From a plan to the runs that make it."""

import json

import pytest

from solo_rekd.compare.plan import TEACHER_FOLDER
from solo_rekd.compare.tasks import list_tasks, refuse_other_teacher
from solo_rekd.images.decoded.chosen import Chosen
from solo_rekd.utils.errors import UserError


def test_an_arm_waits_for_the_teacher_it_needs(plan, names_only, tmp_path):
    made = plan(arms="simclr,disco,rekd+teacher_mode=online", seeds=2)
    tasks = list_tasks(made, names_only, tmp_path, {})
    order = ["teacher 0", *(f"{arm.name} {seed}" for seed in (0, 1) for arm in made.arms)]
    assert [f"{task.arm} {task.seed}" for task in tasks] == order
    waiting = [task.arm for task in tasks if task.after == tmp_path / TEACHER_FOLDER]
    assert waiting == ["disco", "disco"]
    with pytest.raises(KeyError):  # before its turn
        tasks[2].job()
    tasks[0].folder.mkdir(parents=True)
    (tasks[0].folder / "result.json").write_text(json.dumps({"checkpoint": "/t.ckpt"}))
    job = tasks[2].job()
    assert job["pretrain"]["settings"]["teacher_checkpoint"] == "/t.ckpt"
    assert (job["checkpoint"], job["decoded_images"]) == (None, {})
    # one that the comparison trained itself moves with its folder
    (tasks[0].folder / "result.json").write_text(json.dumps({"checkpoint": "pretrain/t.ckpt"}))
    moved = tasks[2].job()["pretrain"]["settings"]["teacher_checkpoint"]
    assert moved == str(tasks[0].folder / "pretrain" / "t.ckpt")


def test_a_given_teacher_is_evaluated_and_nobody_waits(plan, names_only, tmp_path):
    made = plan(arms="disco", seeds=1, teacher_checkpoint="/given.pt")
    teacher, student = list_tasks(made, names_only, tmp_path, {"/d/train": Chosen("/c", False)})
    job = teacher.job()
    assert (job["pretrain"], job["checkpoint"]) == (None, "/given.pt")
    assert json.loads(json.dumps(job))["decoded_images"] == {"/d/train": ["/c", False]}
    assert job["linear"]["network"]["name"] == "resnet50"
    assert job["linear"]["checkpoint"] == "/given.pt"
    assert student.after is None
    assert student.job()["pretrain"]["settings"]["teacher_checkpoint"] == "/given.pt"


def test_no_teacher_is_trained_that_nobody_needs(plan, names_only, tmp_path):
    tasks = list_tasks(plan(arms="simclr,rekd+teacher_mode=online"), names_only, tmp_path, {})
    assert "teacher" not in [task.arm for task in tasks]


def write_result(out, folder, **content):
    (out / folder).mkdir(parents=True, exist_ok=True)
    (out / folder / "result.json").write_text(json.dumps(content))


@pytest.mark.parametrize("given", [False, True], ids=["trained", "given"])
@pytest.mark.parametrize("learned_from", ["2", None], ids=["another", "unknown"])
def test_runs_of_two_teachers_are_not_mixed(learned_from, given, plan, tmp_path):
    own = {"teacher_checkpoint": "/t.pt", "teacher_sha256": "1"} if given else {}
    made = plan(arms="simclr,disco", seeds=2, **own)
    write_result(tmp_path, TEACHER_FOLDER, checkpoint="a.ckpt", checkpoint_sha256="1")
    write_result(tmp_path, "runs/simclr/seed-0", teacher_sha256=None)
    write_result(tmp_path, "runs/disco/seed-0", teacher_sha256="1")
    refuse_other_teacher(made, tmp_path)
    write_result(tmp_path, "runs/disco/seed-1", teacher_sha256=learned_from)
    with pytest.raises(UserError, match="runs/disco/seed-1 learned from a different teacher than"):
        refuse_other_teacher(made, tmp_path)


def test_a_teacher_that_is_gone_is_not_trained_anew_beside_its_students(plan, tmp_path):
    write_result(tmp_path, "runs/disco/seed-0", teacher_sha256="1")
    with pytest.raises(UserError, match=r"different teacher than .*runs/teacher/seed-0: remove"):
        refuse_other_teacher(plan(arms="disco"), tmp_path)


def test_a_job_names_the_teacher_that_it_expects(plan, names_only, tmp_path):
    own = "disco+teacher=resnet18+teacher_checkpoint=/own.pt"
    made = plan(arms=f"simclr,disco,{own}", seeds=1, arm_sha256={own: "2"})
    write_result(tmp_path, TEACHER_FOLDER, checkpoint="a.ckpt", checkpoint_sha256="1")
    jobs = {task.arm: task.job() for task in list_tasks(made, names_only, tmp_path, {})}
    digests = {arm: job["teacher_sha256"] for arm, job in jobs.items()}
    assert digests == {"teacher": None, "simclr": None, "disco": "1", own: "2"}
