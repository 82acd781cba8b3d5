"""Which first layers a file's weights were trained with, where its tensors alone do not tell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from solo_rekd.backbones import TIMM, settle_stem
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CURRENT_HOST
from solo_rekd.checkpoints.run_settings import read_student

_FIRST_OF_ALEXNET = "features.0.weight"


def trained_stem(
    name: str, format: str, tensors: Mapping[str, Tensor], path: str | Path, raw: Mapping[str, Any]
) -> str:
    """The stem with which weights were trained, of a network that is no ResNet.

    Args:
        name: a name of `build_backbone`.
        format: name of the format that the file is in, of `FORMATS`.
        tensors: of the backbone, by its own names.
        path: the file.
        raw: what the file holds, as `read_checkpoint` gives it.

    Returns:
        What the run that wrote the file tells, or an AlexNet's first convolution; `imagenet` of
        any other file; `auto` where that is open: of solo-learn's older files, and of timm's
        networks, which have one stem only.
    """
    if name.startswith(TIMM):
        return "auto"
    run = read_student(Path(path), raw)
    if run.get("encoder") == name:
        return settle_stem(name, run["crop_size"], run.get("stem", "auto"))
    if name == "alexnet" and _FIRST_OF_ALEXNET in tensors:
        return "small" if tensors[_FIRST_OF_ALEXNET].shape[-1] == 3 else "imagenet"
    return "auto" if format in (CLASSIC_HOST, CURRENT_HOST) else "imagenet"
