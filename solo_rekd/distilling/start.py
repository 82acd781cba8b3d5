"""The weights that a student starts from."""

from typing import NamedTuple

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.student import STARTED, choose_stem, load_student
from solo_rekd.distilling.request import Request


class Start(NamedTuple):
    """What a file of weights tells.

    Attributes:
        stem: the first layers that they belong to, see `build_backbone`.
        format: of the file.
        sha256: of the file, in hexadecimal.
    """

    stem: str
    format: str
    sha256: str


def read_start(request: Request, side: int) -> Start:
    """Reads the weights once, before anything is trained.

    Args:
        request: with a `student_checkpoint`.
        side: of the student's views, in px.

    Raises:
        UserError: the file cannot be read, or does not hold every weight of the student.
    """
    path = str(request.student_checkpoint)
    stem = choose_stem(path, request.student, "auto")
    source = load_student(
        path, request.student, build_backbone(request.student, side, stem, "student"), key=STARTED
    )
    return Start(stem, source.format, source.sha256)
