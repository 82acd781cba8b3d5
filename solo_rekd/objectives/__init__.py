"""The objectives by name: what each paper adds to the host's momentum method."""

from solo_rekd.objectives.bingo import BINGO
from solo_rekd.objectives.compress import CompRess
from solo_rekd.objectives.coss import CoSS
from solo_rekd.objectives.crcd import CRCD
from solo_rekd.objectives.disco import DisCo
from solo_rekd.objectives.distillation import Batch, DistillationObjective, HostRun
from solo_rekd.objectives.rekd import ReKD
from solo_rekd.objectives.seed import SEED
from solo_rekd.objectives.simreg import SimReg

OBJECTIVES: dict[str, type[DistillationObjective]] = {
    "rekd": ReKD,
    "disco": DisCo,
    "seed": SEED,
    "compress": CompRess,
    "crcd": CRCD,
    "bingo": BINGO,
    "simreg": SimReg,
    "coss": CoSS,
}

__all__ = [
    "BINGO",
    "CRCD",
    "OBJECTIVES",
    "SEED",
    "Batch",
    "CoSS",
    "CompRess",
    "DisCo",
    "DistillationObjective",
    "HostRun",
    "ReKD",
    "SimReg",
]
