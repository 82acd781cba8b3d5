"""Online and frozen teachers."""

from solo_rekd.teachers.build import build_teacher
from solo_rekd.teachers.teacher import FrozenTeacher, OnlineTeacher

__all__ = ["FrozenTeacher", "OnlineTeacher", "build_teacher"]
