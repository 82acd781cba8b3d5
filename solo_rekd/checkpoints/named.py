"""The architecture that a checkpoint, or the `config.json` beside it, names."""

from collections.abc import Mapping
from typing import Any

import timm

from solo_rekd.backbones import TIMM
from solo_rekd.utils.errors import UserError

Named = tuple[str, str]  # an architecture, and where it is named


def named_architecture(config: Mapping[str, Any], raw: Mapping[str, Any]) -> Named | None:
    """Finds timm's name that the source gave the network.

    Args:
        config: content of the `config.json` beside the file.
        raw: content of the file.

    Returns:
        The name without its weights tag, and where it was found; None where there is none.
    """
    told = (
        (config.get("architecture"), "config.json beside it"),
        (raw.get("arch"), "its entry arch"),
    )
    for name, where in told:
        if isinstance(name, str) and timm.is_model(name.partition(".")[0]):
            return name.partition(".")[0], where
    return None


def refuse_another(named: Named | None, name: str) -> None:
    """Raises a UserError where the source names another architecture than `name`.

    Two of timm's networks can have the same tensors and compute differently: `tf_efficientnet_b0`
    pads as TensorFlow does.
    """
    if named is None:
        return
    architecture, where = named
    if _family(architecture) != _family(name.removeprefix(TIMM)):
        raise UserError(
            f"is a {architecture} according to {where}, which has the tensors of {name} but "
            f"computes differently: give timm:{architecture}"
        )


def twins_of(name: str) -> list[str]:
    """Lists timm's networks that have the same tensors as this one but compute differently."""
    model = name.removeprefix(TIMM)
    padded = model.removeprefix("tf_") if model.startswith("tf_") else f"tf_{model}"
    twins = [padded, model.replace("resnet", "resnetblur")]
    return [TIMM + twin for twin in twins if twin != model and timm.is_model(twin)]


def doubt_of_padding(named: Named | None, name: str) -> str:
    """Describes the doubt about a file of unnamed architecture that fits two of timm's."""
    twins = [twin for twin in twins_of(name) if "tf_" in twin or "tf_" in name]
    if not name.startswith(TIMM) or not twins or named is not None:
        return ""
    return (
        f"its architecture is not recorded, and {twins[0]} has the same tensors as {name} but pads "
        "differently: check that --teacher names the right one"
    )


def _family(name: str) -> str:
    return name.partition(".")[0].removesuffix("_qkvb")
