"""The Python API: a teacher and an objective for your own training loop.

`solo_rekd` exports these names and imports this package on first use.
"""

from solo_rekd.api.make import make_objective
from solo_rekd.api.objective import Objective
from solo_rekd.api.teacher import Teacher, load_teacher

__all__ = ["Objective", "Teacher", "load_teacher", "make_objective"]
