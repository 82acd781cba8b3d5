"""Reads networks from checkpoints of the formats in `FORMATS`, completely or not at all."""

from solo_rekd.checkpoints.formats import FORMATS
from solo_rekd.checkpoints.projector import (
    build_projector,
    linear_projector,
    two_layer_projector,
)
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.split import split_state_dict

__all__ = [
    "FORMATS",
    "build_projector",
    "linear_projector",
    "read_checkpoint",
    "split_state_dict",
    "two_layer_projector",
]
