"""Loads a pretrained student for evaluation, and says what matched."""

import logging
from pathlib import Path

from torch import nn

from solo_rekd.checkpoints import read_checkpoint, split_state_dict
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")


def load_student(path: str | Path, name: str, backbone: nn.Module, only: str | None = None) -> None:
    """Loads every weight of `backbone` from a checkpoint, or none.

    Args:
        path: a checkpoint of the host, or any format a teacher is read from.
        name: name of the backbone, for the messages.
        backbone: the network, changed in place.
        only: the one format to accept, where a host's script is to read the file; None: any.

    Raises:
        UserError: the checkpoint cannot be read, is of another format than `only`, or a weight is
            missing or of another shape.
    """
    raw, _ = read_checkpoint(path)
    try:
        split = split_state_dict(raw)
        if only not in (None, split.format):
            raise UserError(f"the host's script reads checkpoints of {only}, not of {split.format}")
        # a host's script takes the names and sizes as they are
        matched = load_backbone(backbone, split.backbone, name, translate=only is None)
    except UserError as error:
        raise UserError(f"pretrained_feature_extractor={str(path)!r}: {error}") from error
    total = len(backbone.state_dict())
    _log.info("%s: matched %d of %d backbone weights of %s", name, matched, total, path)
