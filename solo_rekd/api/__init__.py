"""The Python API: a teacher and an objective for a training loop of one's own.

`import solo_rekd` finds these names without an import of this package before they are used.
"""

from solo_rekd.api.make import make_objective
from solo_rekd.api.objective import Objective
from solo_rekd.api.teacher import Teacher, load_teacher

__all__ = ["Objective", "Teacher", "load_teacher", "make_objective"]
