"""The stem of a network, as far as its checkpoint records it."""

from collections.abc import Mapping
from typing import Any

from solo_rekd.backbones import TIMM, settle_stem
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CURRENT_HOST
from solo_rekd.checkpoints.split import SplitCheckpoint
from solo_rekd.config import RESNET_STEMS, TEACHER_STEMS
from solo_rekd.utils.errors import UserError, refuse

_FIRST_OF_ALEXNET = "features.0.weight"
# the possible stems by the kernel size of the first convolution
_MEANINGS: dict[int | None, tuple[str, ...]] = {
    3: ("small", *(name for name, (kernel, *_) in RESNET_STEMS.items() if kernel == 3)),
    7: ("imagenet", *(name for name, (kernel, *_) in RESNET_STEMS.items() if kernel == 7)),
}


def describe_stem(stem: str) -> str:
    """Describes a stem: kernel, stride, padding and pooling of a ResNet's, or its name."""
    kernel, stride, padding, pools = {
        "small": (3, 1, 2, False),
        "imagenet": (7, 2, 3, True),
        **RESNET_STEMS,
    }[stem]
    pooling = "max-pooling" if pools else "no pooling"
    return f"{kernel}x{kernel}, stride {stride}, padding {padding}, {pooling}"


def stem_of_resnet(
    split: SplitCheckpoint,
    asked: str,
    key: str,
    trained: Mapping[str, Any] | None = None,
    offered: tuple[str, ...] = TEACHER_STEMS,
) -> tuple[str, str]:
    """Determines the stem of the ResNet in a checkpoint.

    Its kernel size is in the weights, but stride, padding and pooling are not recorded. A 7x7
    convolution is assumed to have the usual stride 2 and pooling; a 3x3 one follows the format.

    Args:
        split: the checkpoint.
        asked: stem that the user asks for, or `auto`.
        key: name of the setting.
        trained: the run's settings, see `read_student`.
        offered: stems that can be built; a host builds a student only with `STEMS`.

    Returns:
        A stem of `build_backbone`, and the doubt about it, empty if there is none. For networks
        other than ResNets, the stem that was asked for.

    Raises:
        UserError: the checkpoint has another stem, or its stem is not known.
    """
    conv = split.backbone.get("conv1.weight")
    side = conv.shape[-1] if conv is not None and conv.ndim == 4 else None
    meanings = [stem for stem in _MEANINGS.get(side, ()) if stem in offered]
    if not meanings:
        return asked, ""  # not a ResNet: the missing keys will say so
    if asked != "auto":
        if asked not in meanings:
            allowed = f"{', '.join(meanings)} or auto"
            raise refuse(key, asked, f"{allowed}: the checkpoint's first convolution has {side} px")
        return asked, ""
    if meanings[0] == "imagenet":
        return "imagenet", ""
    if trained:
        noted = trained.get("stem")
        return (noted if noted in meanings else "small"), ""
    if split.stem is None:
        choices = "; ".join(f"{name} ({describe_stem(name)})" for name in meanings)
        raise UserError(
            f"its first convolution is 3x3, and this format does not record its stride and "
            f"pooling: give {key}, one of {choices}"
        )
    doubt = (
        f"the first convolution is 3x3: {describe_stem(split.stem)} is assumed, as in solo-learn; "
        f"if another program wrote the file, give {key}, one of {', '.join(meanings)}"
    )
    return split.stem, "" if split.sure else doubt


def trained_stem(name: str, split: SplitCheckpoint, trained: Mapping[str, Any]) -> str:
    """Determines the stem that a network other than a ResNet was trained with.

    Args:
        name: a name of `build_backbone`.
        split: the checkpoint.
        trained: the run's settings, see `read_student`.

    Returns:
        The stem by the run that wrote the file, or by an AlexNet's first convolution; `imagenet`
        for any other file; `auto` if it is not known: for solo-learn's older files, and for timm's
        networks, which have only one stem.
    """
    if name.startswith(TIMM):
        return "auto"
    if trained.get("encoder") == name:
        return settle_stem(name, trained["crop_size"], trained.get("stem", "auto"))
    first = split.backbone.get("features.0.weight")
    if name == "alexnet" and first is not None and first.ndim == 4:
        return "small" if first.shape[-1] == 3 else "imagenet"
    return "auto" if split.format in (CLASSIC_HOST, CURRENT_HOST) else "imagenet"
