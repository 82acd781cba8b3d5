"""Teachers, online or frozen, from any checkpoint of the formats in `FORMATS`."""

from solo_rekd.teachers.build import build_teacher
from solo_rekd.teachers.checkpoint import read_checkpoint
from solo_rekd.teachers.formats import FORMATS
from solo_rekd.teachers.projector import build_projector, two_layer_projector
from solo_rekd.teachers.split import split_state_dict
from solo_rekd.teachers.teacher import FrozenTeacher, OnlineTeacher

__all__ = [
    "FORMATS",
    "FrozenTeacher",
    "OnlineTeacher",
    "build_projector",
    "build_teacher",
    "read_checkpoint",
    "split_state_dict",
    "two_layer_projector",
]
