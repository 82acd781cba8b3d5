"""The objectives by name: what each paper adds to the host's momentum method."""

from solo_rekd.objectives.distillation import Batch, DistillationObjective
from solo_rekd.objectives.rekd import ReKD

OBJECTIVES: dict[str, type[DistillationObjective]] = {"rekd": ReKD}

__all__ = ["OBJECTIVES", "Batch", "DistillationObjective", "ReKD"]
