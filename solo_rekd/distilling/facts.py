"""What is known of photos, teacher and machine before a distillation: see `choices.Facts`."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from solo_rekd.checkpoints.load import read_networks
from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.distilling.choices import Facts
from solo_rekd.images.read import opened
from solo_rekd.utils.cores import cores
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import user_cache

LOOKED_AT = 100  # photos whose sizes are read


@dataclass(frozen=True)
class TeacherFile:
    """What a teacher's file contains.

    Attributes:
        sha256: SHA-256 of the file, in hexadecimal.
        line: one line on how it was read.
        width: width of its embeddings.
        side: image size that it was trained at, in px; None: not known.
    """

    sha256: str
    line: str
    width: int
    side: int | None


def read_teacher(name: str, path: str, side: int) -> TeacherFile:
    """Reads a teacher's file once, before anything is written.

    Args:
        name: name of the backbone.
        path: path of the file.
        side: image size to build the teacher for where its file records none, in px.

    Raises:
        UserError: the file cannot be read, or does not hold the teacher.
    """
    try:
        loaded = read_networks(Path(path), name, None)
    except UserError:
        # the file does not record its size; any other error is raised again
        loaded = read_networks(Path(path), name, side)
    seen = loaded.facts.preprocessing.size
    return TeacherFile(loaded.sha256, loaded.facts.line(), embedding_width(loaded), seen)


def embedding_width(loaded: Loaded) -> int:
    """Returns the width of a teacher's embeddings: its projector's output, else its features."""
    if loaded.projector is None:
        return int(loaded.backbone.num_features)  # type: ignore[arg-type]
    from solo_rekd.checkpoints.projector import widths

    return widths(loaded.projector)[1]


def usual_side(paths: Sequence[str]) -> int:
    """Returns the median of the shorter sides of some photos, in px.

    Args:
        paths: paths of all photos, at least one; unreadable photos are skipped.

    Raises:
        UserError: none of the photos that were tried can be read.
    """
    step = max(1, len(paths) // LOOKED_AT)
    sides = []
    problem = None
    for place in range(0, len(paths), step):
        try:
            with opened(paths[place]) as image:
                sides.append(min(image.size))
        except UserError as error:
            problem = problem or error
    if not sides:
        raise problem or UserError("there are no photos")
    return int(median(sides))


def find_facts(photos: int, side: int, student: str, teacher: TeacherFile) -> Facts:
    """Gathers the facts.

    Args:
        photos: number of photos for training.
        side: see `usual_side`.
        student: name of the student.
        teacher: the teacher's file.
    """
    gpu: dict[str, object] = {}
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        bf16 = torch.cuda.is_bf16_supported()
        gpu = {"gpu": torch.cuda.get_device_name(), "gpu_memory": memory, "bf16": bf16}
    return Facts(
        photos,
        side,
        student,
        teacher.width,
        teacher.side,
        cores(),
        disk=_free(),
        **gpu,  # type: ignore[arg-type]
    )


def _free() -> int:
    folder = user_cache()
    while not folder.exists():
        folder = folder.parent
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0
