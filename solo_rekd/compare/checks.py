"""From the options to the plan; what is wrong with it is said before anything is written."""

import dataclasses
from argparse import Namespace
from pathlib import Path

from solo_rekd.backbones import is_known
from solo_rekd.compare.arms import Arm, parse_arms
from solo_rekd.compare.flags import pretrain_flags, read_config, refuse_settings, teacher_flags
from solo_rekd.compare.images import Images, default_crop_size, fingerprint
from solo_rekd.compare.plan import Plan, Run, default_queue_size
from solo_rekd.errors import UserError, refuse, refuse_missing
from solo_rekd.objectives import OBJECTIVES, HostRun

EXTRAS = ("sklearn", "matplotlib", "jinja2")


def refuse_missing_packages() -> None:
    """Raises a UserError where a package is missing that only a comparison needs."""
    refuse_missing(EXTRAS, "compare")


def make_plan(options: Namespace, extra: tuple[str, ...], images: Images) -> Plan:
    """Fills in what the options leave to the images, and checks what needs no host.

    Args:
        options: of the command line.
        extra: flags of the host for every pretraining.
        images: those of `options.data`.

    Raises:
        UserError: a setting cannot be.
    """
    for role in ("student", "teacher"):
        if not is_known(getattr(options, role)):
            allowed = "a student or teacher that `solo-rekd list` names, or timm:NAME"
            raise refuse(role, getattr(options, role), allowed)
    if len(images.train) < options.batch_size:
        raise refuse(
            "batch_size", options.batch_size, f"at most {len(images.train)}, the training images"
        )
    checkpoint = options.teacher_checkpoint
    settings = {
        name: value
        for name, value in vars(options).items()
        if name not in ("methods", "out", "jobs")
    }
    plan = Plan(
        **settings
        | {
            "data": str(options.data),
            "arms": parse_arms(options.methods),
            "teacher_checkpoint": str(checkpoint.resolve()) if checkpoint else None,
            "teacher_epochs": options.teacher_epochs or options.epochs,
            "crop_size": options.crop_size or default_crop_size(images.train[0]),
            "mean": tuple(options.mean),
            "std": tuple(options.std),
            "queue_size": options.queue_size
            or default_queue_size(len(images.train), options.batch_size),
            "extra": extra,
            "images": fingerprint(images),
        }
    )
    refuse_settings(plan)
    return plan


def settle_teachers(plan: Plan) -> Plan:
    """Builds every arm whose teacher's checkpoint is there, and notes the digests of the files.

    The given teacher's stem is noted too.

    Raises:
        UserError: a checkpoint does not hold the teacher, or an arm cannot learn from it.
    """
    from solo_rekd.teachers.load import load_networks

    if plan.teacher_checkpoint is not None:
        given = (plan.teacher_checkpoint, plan.teacher, plan.crop_size, plan.teacher_stem)
        teacher = load_networks(*given)
        plan = dataclasses.replace(plan, teacher_stem=teacher.stem, teacher_sha256=teacher.sha256)
    digests = {}
    for arm in plan.arms:
        own = arm.settings.get("teacher_checkpoint")
        if own or (arm.shares_teacher and plan.teacher_checkpoint):
            digest = refuse_arm(plan, arm)
            if own:
                digests[arm.name] = digest
    return dataclasses.replace(plan, arm_sha256=digests)


def refuse_arm(plan: Plan, arm: Arm) -> str:
    """Builds an arm's objective with its teacher, whose file's digest it gives.

    Raises:
        UserError: the checkpoint does not hold the teacher, or the arm cannot learn from it.
    """
    config = read_config(plan, arm, plan.teacher_checkpoint)
    run = HostRun(features_dim=1, num_classes=1, img_size=plan.crop_size, max_epochs=plan.epochs)
    try:
        objective = OBJECTIVES[arm.method](config, run)
    except UserError as error:
        raise UserError(f"{arm.name}: {error}") from None
    return str(objective.teacher.identity["sha256"])


def refuse_flags(plan: Plan) -> None:
    """Lets the host read the flags of every arm.

    Raises:
        UserError: it does not take them.
    """
    from solo_rekd.hosts.classic_check import check_pretrain

    for arm in plan.arms:
        check_pretrain(pretrain_flags(plan, Run(arm, 0), str(Path("teacher.ckpt"))))
    if plan.has_frozen_teacher and plan.teacher_checkpoint is None:
        check_pretrain(teacher_flags(plan))
