"""Turns a request and its choices into a host's job."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solo_rekd.backbones import refuse_unknown
from solo_rekd.checkpoints.student import read_start
from solo_rekd.compare.jobs import AUGMENTATION, MOMENTUM, RESERVED, blur, warmup_epochs
from solo_rekd.config import AUTO, CONFIGS, from_settings
from solo_rekd.config import refuse_unknown as refuse_setting
from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.request import Request
from solo_rekd.hosts.jobs import Images, Network, Optimizer, Pretraining
from solo_rekd.hosts.rates import BATCH
from solo_rekd.hosts.words import override, read_words
from solo_rekd.images.data_sets import MEAN, STD
from solo_rekd.utils.errors import UserError, refuse

WEIGHT_DECAY = 1e-4
# settings of a method that the command has options for, or that follow from its teacher
OURS = (
    *("teacher", "teacher_mode", "teacher_checkpoint", "teacher_size", "queue_size"),
    *("drawn_views",),
)


def make_job(
    request: Request, choices: Sequence[Choice], photos: str, width: int, cache: Path | None = None
) -> Pretraining:
    """Makes the job.

    Args:
        request: what the user asks for.
        choices: see `choices.choose`.
        photos: folder of the index of the training photos.
        width: width of the embeddings of teacher and student.
        cache: folder for the teacher's cached outputs; None: the user's.

    Raises:
        UserError: a setting or one of the host's words is not allowed.
    """
    refuse_unknown("student", request.student)
    chosen = {choice.name: choice.value for choice in choices}
    method, size, batch = chosen["method"], chosen["crop_size"], chosen["batch_size"]
    rate, warmup = chosen["lr"] * batch / BATCH, warmup_epochs(chosen["epochs"])
    host: dict[str, Any] = {"name": method, "accelerator": chosen["device"]}
    host |= {"precision": chosen["precision"]}
    if chosen["memory_format"] != AUTO:
        host["memory_format"] = chosen["memory_format"]
    start = request.student_checkpoint
    stem = read_start(start, request.student, size).stem if start else "auto"
    job = Pretraining(
        method=method,
        network=Network(request.student, stem),
        student_checkpoint=str(Path(start).absolute()) if start else None,
        images=Images(
            train=photos,
            size=size,
            mean=MEAN,
            std=STD,
            labelled=False,
            workers=chosen["workers"],
        ),
        views=(dataclasses.replace(AUGMENTATION, blur=blur(size)),),
        optimizer=Optimizer(
            "sgd",
            rate,
            weight_decay=WEIGHT_DECAY,
            schedule="warmup_cosine",
            warmup_epochs=warmup,
            warmup_start_lr=rate / warmup,  # the rate changes once per epoch
        ),
        batch_size=batch,
        epochs=chosen["epochs"],
        seed=request.seed,
        settings=MOMENTUM | settings_of(request, chosen, width),
        host=host,
    )
    words = read_words(request.host_words)
    for name in words:
        # a host may accept abbreviated flags
        if name in ("accelerator", "precision") or any(own.startswith(name) for own in RESERVED):
            raise UserError(f"{name} after -- is set by distil: see solo-rekd distil --help")
    return override(job, words)


def settings_of(request: Request, chosen: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Returns the method's settings, checked as its run will check them.

    Raises:
        UserError: the method does not have a setting, or its value is not allowed.
    """
    config = CONFIGS[chosen["method"]]
    settings: dict[str, Any] = {
        "teacher": request.teacher,
        "teacher_mode": "frozen",
        "teacher_checkpoint": str(Path(request.teacher_checkpoint).absolute()),
        "teacher_size": chosen["teacher_size"],
        "teacher_probe": "off",  # it learns from labels
        "proj_output_dim": width,
        "queue_size": chosen["queue_size"],
    }
    if chosen["drawn_views"]:
        settings["drawn_views"] = chosen["drawn_views"]
    for name, value in request.settings.items():
        if name in OURS:
            raise refuse(f"set {name}", value, f"the option --{name}, or nothing")
    try:
        refuse_setting(config, request.settings)
    except UserError as error:
        raise UserError(str(error).replace("method_kwargs.", "set ")) from error
    settings |= request.settings
    checked = from_settings(config, settings)
    if checked.reads_labels:
        raise UserError(f"{checked.reads_labels} needs labels, which photos do not have")
    checked.refuse_width(width)
    return settings
