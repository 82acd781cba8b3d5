"""Turns a plan into tasks: each run's `job.json`, and which run waits for which."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solo_rekd.compare.arms import UNTRAINED
from solo_rekd.compare.collect import label
from solo_rekd.compare.jobs import TEACHER_SEED, linear_job, student_job, teacher_job
from solo_rekd.compare.plan import TEACHER_FOLDER, Plan, Run
from solo_rekd.compare.schedule import RESULT, Task
from solo_rekd.hosts.jobs import Host, Pretraining, to_json
from solo_rekd.images.broken import skips_broken
from solo_rekd.images.decoded.chosen import Chosen
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json


def list_tasks(plan: Plan, host: Host, out: Path, decoded: Mapping[str, Chosen]) -> list[Task]:
    """Lists the runs in their order, the frozen teacher's first where an arm needs one.

    Args:
        plan: the comparison.
        host: host that trains.
        out: folder of the comparison.
        decoded: decoded images of each folder, where there are any.
    """
    methods, teacher = host.methods(), out / TEACHER_FOLDER

    def describe(
        pretraining: Pretraining | None,
        checkpoint: str | None,
        digest: str | None,
        seed: int,
        of_teacher: bool = False,
    ) -> dict[str, Any]:
        """Returns the content of a run's `job.json`."""
        linear = linear_job(plan, seed, checkpoint or "", of_teacher=of_teacher)
        return {
            "host": str(host.root),
            "pretrain": None if pretraining is None else to_json(pretraining),
            "checkpoint": checkpoint,
            "linear": to_json(linear),
            "knn": {"k": plan.knn_k, "temperature": plan.knn_temperature},
            "teacher_sha256": digest,
            "student_sha256": None if of_teacher else plan.student_sha256,
            "decoded_images": decoded,
            "skip_broken": skips_broken(),
        }

    def of_teacher() -> dict[str, Any]:
        given = plan.teacher_checkpoint
        job = None if given else teacher_job(plan, methods)
        return describe(job, given, plan.teacher_sha256, TEACHER_SEED, of_teacher=True)

    def of_student(run: Run) -> dict[str, Any]:
        if run.arm.method == UNTRAINED and plan.student_checkpoint is not None:
            return describe(None, plan.student_checkpoint, None, run.seed)
        checkpoint, digest = plan.teacher_checkpoint, plan.arm_sha256.get(run.arm.name)
        if run.arm.shares_teacher:
            digest = teacher_digest(plan, out)
            if checkpoint is None:
                checkpoint = str(teacher / (read_json(teacher / RESULT) or {})["checkpoint"])
        return describe(student_job(plan, run, checkpoint, methods), None, digest, run.seed)

    tasks = []
    if plan.has_frozen_teacher:
        tasks.append(Task("teacher", TEACHER_SEED, teacher, of_teacher))
    for run in plan.runs:
        waits = run.arm.shares_teacher and plan.teacher_checkpoint is None
        after = teacher if waits else None
        job = functools.partial(of_student, run)
        tasks.append(Task(label(run.arm, plan), run.seed, out / run.folder, job, after))
    return tasks


def teacher_digest(plan: Plan, out: Path) -> str | None:
    """Returns the SHA-256 of the frozen teacher's file; None: it is not trained yet."""
    if plan.teacher_checkpoint is not None:
        return plan.teacher_sha256
    return (read_json(out / TEACHER_FOLDER / RESULT) or {}).get("checkpoint_sha256")


def refuse_other_teacher(plan: Plan, out: Path) -> None:
    """Refuses finished runs that learned from a different teacher than the next ones will.

    Raises:
        UserError: there is such a run, or its teacher is missing.
    """
    expected = teacher_digest(plan, out)
    for run in plan.runs:
        result = read_json(out / run.folder / RESULT)
        if result and run.arm.shares_teacher and result.get("teacher_sha256") != expected:
            raise UserError(
                f"{out / run.folder} learned from a different teacher than "
                f"{plan.teacher_checkpoint or out / TEACHER_FOLDER}: remove that run, or give "
                "another --out"
            )
