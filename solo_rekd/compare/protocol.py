"""The settings that all arms of a comparison share, for its report."""

import dataclasses
import shlex

from solo_rekd.compare.arms import STARTING
from solo_rekd.compare.images import Images
from solo_rekd.compare.jobs import (
    AUGMENTATION,
    HEAD,
    INFO_NCE,
    blur,
    sight_of_teacher,
    warmup_epochs,
)
from solo_rekd.compare.plan import Plan


def describe_protocol(plan: Plan, images: Images) -> dict[str, str | int]:
    """Lists the settings that affect the results, in the order in which the report shows them.

    Args:
        plan: the comparison.
        images: its images.
    """
    augmentation = dataclasses.asdict(AUGMENTATION) | {"blur": blur(plan.crop_size)}
    return {
        "data": plan.data,
        "training images": len(images.train),
        "validation images": len(images.val),
        **({"broken images left out": images.broken} if images.broken else {}),
        "classes": len(images.classes),
        "student": f"{plan.student}, stem {plan.stem}",
        **_start(plan),
        **_teacher(plan),
        "epochs": plan.epochs,
        "batch size": plan.batch_size,
        "crop size": f"{plan.crop_size} px",
        "optimiser": f"SGD, lr {plan.lr:g} x batch / 256, weight decay {plan.weight_decay:g}, "
        f"warm-up of {warmup_epochs(plan.epochs)} epochs, then cosine",
        "augmentation": ", ".join(
            f"{name} {value:g}" for name, value in augmentation.items() if value is not None
        ),
        "projector": f"{HEAD['proj_hidden_dim']} hidden, {HEAD['proj_output_dim']} out",
        "temperature": f"{INFO_NCE['temperature']:g} (mocov2plus, simclr), the default for others",
        "queue": f"{plan.queue_size} keys",
        "mean, std": f"{plan.mean}, {plan.std}",
        "image loader": "torchvision" if plan.dali is None else f"NVIDIA DALI, {plan.dali}",
        "flags of the host": shlex.join(plan.extra) or "none",
    }


def _start(plan: Plan) -> dict[str, str | int]:
    if plan.student_checkpoint is None or plan.student_sha256 is None:
        return {}
    digest = plan.student_sha256[:12]
    return {STARTING: f"{plan.student_checkpoint}, {plan.student_format}, sha256 {digest}"}


def _teacher(plan: Plan) -> dict[str, str | int]:
    if not plan.distils:
        return {}
    modes = {"online" if arm.online else "frozen" for arm in plan.arms if arm.distils}
    told: dict[str, str | int] = {
        "teacher": f"{plan.teacher}, stem {plan.teacher_stem}",
        "teacher mode": " and ".join(sorted(modes)),
    }
    if plan.has_frozen_teacher:
        trained = f"trained by mocov2plus on the same images, {plan.teacher_epochs} epochs"
        told["frozen teacher"] = plan.teacher_facts or plan.teacher_checkpoint or trained
        told["frozen teacher sees"] = str(sight_of_teacher(plan))
    return told
