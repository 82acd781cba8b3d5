"""The preprocessing that a file's network was trained with: mean, standard deviation and size."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite, isqrt
from pathlib import Path
from typing import Any, NoReturn

import timm
from safetensors import SafetensorError, safe_open
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from solo_rekd.backbones import TIMM
from solo_rekd.checkpoints.beside import CONFIG, read_beside
from solo_rekd.checkpoints.formats import CLASSIC_HOST, CLASSIFIERS, CURRENT_HOST
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.checkpoints.run_record import record_of
from solo_rekd.checkpoints.run_settings import read_colours, read_student
from solo_rekd.checkpoints.split import argument_in, split_state_dict
from solo_rekd.images.data_sets import FIXED_SIDES, LARGE_IMAGE
from solo_rekd.utils.errors import UserError

Colours = tuple[float, ...]

# words in the names of those formats whose own scripts normalise by ImageNet's numbers at 224 px
IMAGENET_FORMATS = (
    *("MoCo", "DisCo", "SimSiam", "SwAV", "DINO", "Barlow", "VICReg", "iBOT", "I-JEPA", "MAE"),
    *("SEED", "CompRess", "VISSL", "OpenMMLab", "lightly", "torchvision", "byol-pytorch"),
)
MASKED = ("mask_token", "masked_embed")  # of a ViT that learned by masking
# those whose scripts give the network images from 0 to 1
UNIT_FORMATS = ("PyTorch-SimCLR", "PyTorch-BYOL")
SUPCONTRAST = {  # by its argument `dataset`
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing that a network was trained with; None: not known.

    Attributes:
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        size: side of the images, in px.
        source: where mean and std come from, in words.
        doubtful: whether the file may be from another source, with other mean and std.
    """

    mean: Colours | None = None
    std: Colours | None = None
    size: int | None = None
    source: str | None = None
    doubtful: bool = False


def preprocessing_of(
    path: str | Path, name: str, format: str, raw: Mapping[str, Any]
) -> Preprocessing:
    """Finds the preprocessing that a file's network was trained with.

    The sources are, from the most reliable: the run that wrote the file; Hugging Face's
    `preprocessor_config.json` beside it; timm's `config.json` beside it, or its metadata; its
    format; timm's entry for the name.

    Args:
        path: the file, or a folder from Hugging Face.
        name: name of the backbone, as in `build_backbone`.
        format: name of the format that the file is in, of `FORMATS`.
        raw: content of the file, from `read_checkpoint`.

    Returns:
        Mean and standard deviation from the first source with both, and the size from the first
        source with that.
    """
    path = Path(path)
    witnesses: list[Callable[[], Preprocessing]] = [
        lambda: _of_run(path, name, format, raw),
        lambda: _of_hugging_face(read_beside(path, "preprocessor_config.json")),
        lambda: _of_timm(read_beside(path, CONFIG), "timm's config.json"),
        lambda: _of_timm(_metadata(path), "the file's metadata"),
        lambda: Preprocessing(size=_side_of_positions(raw)),
        lambda: _of_format(name, format, raw),
        lambda: _of_name(name, raw),
    ]
    found = [witness() for witness in witnesses]
    told = next((each for each in found if each.mean), Preprocessing())
    size = next((each.size for each in found if each.size), None)
    return replace(told, size=size)


def refuse_unknown_size(role: str) -> NoReturn:
    """Raises a UserError where the size that a network was trained at is needed but not known."""
    raise UserError(f"the size it was trained at is not recorded: give {role}_size=N, in px")


def read_preprocessing(path: str | Path, name: str) -> Preprocessing:
    """Does the same as `preprocessing_of` for a file that has not been read yet.

    Raises:
        UserError: it cannot be read, or is in no known format.
    """
    raw, _ = read_checkpoint(path)
    return preprocessing_of(path, name, split_state_dict(raw).format, raw)


def preprocessing_told(
    mean: Any, std: Any, size: Any, source: str, scale: float = 1
) -> Preprocessing:
    """Makes a `Preprocessing` from a file's values; invalid values count as missing.

    Args:
        mean: three numbers.
        std: three numbers above 0.
        size: side in px.
        source: as in `Preprocessing`.
        scale: number to divide mean and std by.
    """
    means, deviations = _three(mean, scale), _three(std, scale)
    side = int(size) if isinstance(size, int | float) and 0 < size < 1 << 16 else None
    if means is None or deviations is None or min(deviations) <= 0:
        return Preprocessing(size=side)
    return Preprocessing(means, deviations, side, source)


def _three(values: Any, scale: float) -> Colours | None:
    try:
        numbers = tuple(float(value) / scale for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return numbers if len(numbers) == 3 and all(map(isfinite, numbers)) else None


def _of_run(path: Path, name: str, format: str, raw: Mapping[str, Any]) -> Preprocessing:
    run = read_student(path, raw)
    # an `args.json` may lie beside a file that its run did not write
    own = bool(record_of(raw)) or format in (CLASSIC_HOST, CURRENT_HOST)
    if not run or not (own or run["encoder"] == name):
        return Preprocessing()
    mean, std = read_colours(path, raw) or (None, None)
    return preprocessing_told(mean, std, run["crop_size"], "the run that wrote it")


def _of_hugging_face(config: Any) -> Preprocessing:
    if not isinstance(config, dict) or "image_mean" not in config:
        return Preprocessing()
    size = next((side for key in ("crop_size", "size") if (side := _side(config.get(key)))), None)
    source = "preprocessor_config.json"
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    scale = factor * 255 if isinstance(factor, int | float) else 1
    if config.get("do_normalize") is False:
        return preprocessing_told([0] * 3, [1] * 3, size, source, scale)
    return preprocessing_told(config["image_mean"], config.get("image_std"), size, source, scale)


def _side(size: Any) -> Any:
    if isinstance(size, dict):
        return next((size[key] for key in ("height", "shortest_edge") if key in size), None)
    return size


def _of_timm(config: Any, source: str) -> Preprocessing:
    if not isinstance(config, Mapping):
        return Preprocessing()
    inner = config.get("pretrained_cfg", config)
    if isinstance(inner, str):  # metadata holds text alone
        try:
            inner = json.loads(inner)
        except (ValueError, RecursionError):
            return Preprocessing()
    if not isinstance(inner, Mapping):
        return Preprocessing()
    size = inner.get("input_size")
    side = size[-1] if isinstance(size, list | tuple) and size else None
    return preprocessing_told(inner.get("mean"), inner.get("std"), side, source)


def _metadata(path: Path) -> dict[str, str] | None:
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except (OSError, SafetensorError):
        return None  # whoever needs the weights refuses the file


def _of_format(name: str, format: str, raw: Mapping[str, Any]) -> Preprocessing:
    if any(word in format for word in UNIT_FORMATS):
        return Preprocessing(
            (0.0,) * 3, (1.0,) * 3, None, f"images from 0 to 1, as {format} has them"
        )
    trained = argument_in(raw, "dataset")
    if format == "SupContrast" and isinstance(trained, str) and trained in SUPCONTRAST:
        return Preprocessing(*SUPCONTRAST[trained], FIXED_SIDES[trained], f"its argument {trained}")
    # timm's own weights are under its names in the same format; those of a small stem saw small
    # images, of which nothing is published
    plain = "timm" in format and name.startswith(TIMM)
    if plain or not any(word in format for word in IMAGENET_FORMATS) or _has_small_stem(raw):
        return Preprocessing()
    colours = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return Preprocessing(*colours, LARGE_IMAGE, f"ImageNet, as {format} has it")


def _of_name(name: str, raw: Mapping[str, Any]) -> Preprocessing:
    model = name.removeprefix(TIMM)
    config = timm.get_pretrained_cfg(model) if name.startswith(TIMM) and "." not in model else None
    if config is None:
        return Preprocessing()
    found = preprocessing_told(
        config.mean, config.std, config.input_size[-1], f"timm's weights of {model}"
    )
    if model.startswith("vit_") and any(key.endswith(MASKED) for key in _tensors(raw)):
        colours = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        return Preprocessing(*colours, found.size, "ImageNet, as MAE, iBOT and DINOv2 have it")
    # timm's own files have a classifier; those of DINO, iBOT and others have the same names without
    classified = any(key.startswith(CLASSIFIERS) for key in _tensors(raw))
    if classified or found.mean == IMAGENET_DEFAULT_MEAN:
        return found
    return replace(found, doubtful=True)


def _tensors(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns all tensors of a file by name, including those in its containers."""
    found: dict[str, Tensor] = {}
    for key, value in raw.items():
        held = value if isinstance(value, Mapping) else {key: value}
        found |= {str(name): each for name, each in held.items() if isinstance(each, Tensor)}
    return found


def _has_small_stem(raw: Mapping[str, Any]) -> bool:
    """Whether a ResNet's first convolution is 3x3."""
    return any(
        tensor.ndim == 4 and tensor.shape[1] == 3 and tensor.shape[-1] == 3
        for key, tensor in _tensors(raw).items()
        if key.endswith("conv1.weight")
    )


def _side_of_positions(raw: Mapping[str, Any]) -> int | None:
    """Returns the side in px of a ViT's position embeddings; None for any other network."""
    tensors = _tensors(raw)
    for key, patches in tensors.items():
        if not key.endswith("patch_embed.proj.weight") or patches.ndim != 4:
            continue
        positions = tensors.get(key.removesuffix("patch_embed.proj.weight") + "pos_embed")
        if positions is None or positions.ndim != 3:
            continue
        for others in (0, 1):  # with the class token's embedding among them or not
            side = isqrt(positions.shape[1] - others) if positions.shape[1] > others else 0
            if side > 1 and side * side == positions.shape[1] - others:
                return side * patches.shape[-1]
    return None
