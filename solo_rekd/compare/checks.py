"""Makes the plan from the options; it is checked before anything is written."""

import dataclasses
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from solo_rekd import lengths
from solo_rekd.backbones import refuse_unknown
from solo_rekd.checkpoints.preprocessing import read_preprocessing
from solo_rekd.compare.arms import about, parse_arms
from solo_rekd.compare.images import Images, default_crop_size, fingerprint
from solo_rekd.compare.jobs import (
    read_config,
    refuse_settings,
    sight_of_teacher,
    student_job,
    teacher_job,
)
from solo_rekd.compare.plan import Plan, Run
from solo_rekd.config import SIGHT, STEMS, parse_colours
from solo_rekd.hosts.jobs import Host
from solo_rekd.lengths import AUTO, Training
from solo_rekd.teachers.sight import Sight
from solo_rekd.utils.errors import refuse

# options that do not affect the results
OF_THE_WORK = "methods out jobs launcher slurm decoded_images transforms skip_broken".split()

if TYPE_CHECKING:
    from solo_rekd.checkpoints.loaded import Loaded


def make_plan(options: Namespace, extra: tuple[str, ...], images: Images, host: Host) -> Plan:
    """Fills in what depends on the images, and checks names and values.

    Args:
        options: options of the command line.
        extra: the host's words for every pretraining.
        images: images of `options.data`.
        host: host that will train.

    Raises:
        UserError: a setting is not allowed.
    """
    for role in ("student", "teacher"):
        refuse_unknown(role, getattr(options, role))
    if len(images.train) < options.batch_size:
        raise refuse(
            "batch_size",
            options.batch_size,
            f"at most {len(images.train)}, the number of training images",
        )
    checkpoint, start = options.teacher_checkpoint, options.student_checkpoint
    settings = {name: value for name, value in vars(options).items() if name not in OF_THE_WORK}
    plan = Plan(
        **settings
        | {
            "data": str(options.data),
            "arms": parse_arms(options.methods),
            "teacher_checkpoint": str(checkpoint.resolve()) if checkpoint else None,
            "student_checkpoint": str(start.resolve()) if start else None,
            "teacher_epochs": options.teacher_epochs or options.epochs,
            "crop_size": options.crop_size or default_crop_size(images.train[0]),
            "mean": tuple(options.mean),
            "teacher_mean": parse_colours(str(options.teacher_mean)),
            "teacher_std": parse_colours(str(options.teacher_std)),
            "std": tuple(options.std),
            "queue_size": queue_size(options, len(images.train)),
            "extra": extra,
            "host": host.name,
            "images": fingerprint(images, options.data),
        }
    )
    plan = settle_student(plan)
    refuse_settings(plan, host)
    return plan


def queue_size(options: Namespace, images: int) -> int:
    """Returns the length of every arm's queue: as given, or by the number of training images.

    Args:
        options: options of the command line.
        images: number of training images, at least one batch.
    """
    if options.queue_size != AUTO:
        return options.queue_size
    batch = options.batch_size
    length = lengths.queue_size(Training(images, batch, images // batch, options.epochs))
    # the host's MoCo v2+ requires whole batches
    return lengths.whole_batches(length, batch)


def settle_student(plan: Plan) -> Plan:
    """Loads the student's starting weights once; records their stem, digest and format.

    Raises:
        UserError: the file cannot be read, or does not hold every weight of the student.
    """
    from solo_rekd.checkpoints.student import read_start

    path = plan.student_checkpoint
    if path is None:
        return plan
    stem, source = read_start(path, plan.student, plan.crop_size, plan.stem)
    return dataclasses.replace(
        plan, stem=stem, student_sha256=source.sha256, student_format=source.format
    )


def settle_teachers(plan: Plan) -> Plan:
    """Loads every checkpoint of a teacher once, and records what is in them.

    That is the digest of each, and for the comparison's teacher its stem and preprocessing.

    Raises:
        UserError: a checkpoint does not hold the teacher, or an arm cannot learn from it.
    """
    from solo_rekd.checkpoints.load import load_networks
    from solo_rekd.teachers import FrozenTeacher, build_teacher

    given = None
    if plan.teacher_checkpoint is not None:
        path, name = plan.teacher_checkpoint, plan.teacher
        sight = sight_of_teacher(plan, read_preprocessing(path, name))
        loaded = load_networks(path, name, sight.size, plan.teacher_stem)
        _refuse_what_no_host_builds(loaded, path, name)
        given = FrozenTeacher(loaded.backbone, loaded.projector)
        plan = dataclasses.replace(
            plan,
            teacher_stem=loaded.stem,
            teacher_sha256=loaded.sha256,
            teacher_facts=loaded.facts.line(),
            **own_sight(plan, sight),
        )
    digests = {}
    for arm in plan.arms:
        if "teacher_checkpoint" in arm.settings:
            config = read_config(plan, arm, plan.teacher_checkpoint)
            with about(arm):
                own = build_teacher(config, plan.crop_size, plan.mean, plan.std)
                config.refuse_width(own.embedding_dim)
            digests[arm.name] = str(own.identity["sha256"])
        elif given is not None and arm.shares_teacher:
            config = read_config(plan, arm, plan.teacher_checkpoint)
            with about(arm):
                config.refuse_width(given.embedding_dim)
    return dataclasses.replace(plan, arm_sha256=digests)


def _refuse_what_no_host_builds(loaded: "Loaded", path: str, name: str) -> None:
    """Refuses a teacher that a host's linear evaluation would build differently."""
    from solo_rekd.backbones import build_backbone
    from solo_rekd.checkpoints.student import load_student

    if loaded.stem not in STEMS:
        limit = f"{', '.join(STEMS)} in a comparison, where a host evaluates the teacher too"
        raise refuse("teacher_stem", loaded.stem, limit)
    backbone = build_backbone(name, loaded.img_size, loaded.stem, "teacher")
    load_student(path, name, backbone, key="teacher_checkpoint")


def own_sight(plan: Plan, sight: Sight) -> dict[str, Any]:
    """Returns the plan's preprocessing of its teacher; `auto` where it is the student's."""
    students = {"teacher_mean": plan.mean, "teacher_std": plan.std, "teacher_size": plan.crop_size}
    seen = {"teacher_mean": sight.mean, "teacher_std": sight.std, "teacher_size": sight.size}
    return {name: AUTO if seen[name] == students[name] else seen[name] for name in SIGHT}


def refuse_jobs(plan: Plan, host: Host) -> None:
    """Has the host check the job of every arm, as its runs will.

    Raises:
        UserError: the host refuses one.
    """
    methods = host.methods()
    for arm in plan.arms:
        with about(arm):
            host.check(student_job(plan, Run(arm, 0), "teacher.ckpt", methods))
    if plan.has_frozen_teacher and plan.teacher_checkpoint is None:
        host.check(teacher_job(plan, methods))
