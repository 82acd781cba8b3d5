"""What the settings in a checkpoint say about its student."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.backbones import HOST_NAMES
from solo_rekd.checkpoints.read import is_safetensors, read_file
from solo_rekd.checkpoints.run_record import read_settings, settings_of
from solo_rekd.images.data_sets import COLOURS, FOLDERS, Colours
from solo_rekd.utils.errors import UserError

CIFAR = ("cifar10", "cifar100")  # for these, the main branch builds its ResNets with a small stem
# the main branch's normalisation in pretraining; the other host uses that of its evaluation
CURRENT_COLOURS: dict[str, tuple[Colours, Colours]] = {
    "cifar10": (COLOURS["cifar10"][0], (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "stl10": COLOURS["stl10"],
}


def read_student(checkpoint: Path, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Reads how the student of a checkpoint was trained, without importing a host.

    Args:
        checkpoint: checkpoint of either host, or a file of `solo-rekd export`.
        content: content of the file, if it has already been read.

    Returns:
        encoder, crop_size in px, stem, and mean and std of each channel in [0, 1], as far as the
        checkpoint or, for an older one, `args.json` beside it records them.
    """
    try:
        if is_safetensors(checkpoint):
            return _exported(checkpoint)
        run = _settings(checkpoint, content)
        return _classic(run) if "encoder" in run else _current(_resolved(run))
    except Exception:  # another program's settings may have any form
        return {}


def refuse_untold(key: str, checkpoint: str | Path) -> UserError:
    """Builds the error for a setting of the student that neither a flag nor its checkpoint gives.

    Raises:
        UserError: the file is no checkpoint, which is the mistake then.
    """
    read_file(checkpoint)
    return UserError(
        f"--{key} is missing: neither {checkpoint} nor an args.json beside it records it"
    )


def method_of(content: Mapping[str, Any], path: Path) -> str | None:
    """Returns solo-learn's method that trained a checkpoint's backbone; None if not known."""
    run = settings_of(content, path) or content.get("hyper_parameters")
    if not isinstance(run, Mapping):
        return None
    method = run.get("pretrain_method") or run.get("method")
    return str(method) if method else None


def read_colours(
    checkpoint: Path, content: Mapping[str, Any] | None = None
) -> tuple[Sequence[float], Sequence[float]] | None:
    """Returns the channel means and deviations of a training, including a host's fixed ones.

    Args:
        checkpoint: as in `read_student`.
        content: as in `read_student`.
    """
    student = read_student(checkpoint, content)
    if "mean" in student and "std" in student:
        return student["mean"], student["std"]
    if not student or is_safetensors(checkpoint):
        return None
    run = _settings(checkpoint, content)
    if "encoder" in run:
        return COLOURS.get(run["dataset"])
    return CURRENT_COLOURS.get(_resolved(run)["data"]["dataset"])


def _settings(checkpoint: Path, content: Mapping[str, Any] | None) -> dict[str, Any]:
    return read_settings(checkpoint) if content is None else settings_of(content, checkpoint)


def _exported(path: Path) -> dict[str, Any]:
    """Reads the metadata of `solo-rekd export`; empty for a file of another program."""
    try:
        with safe_open(path, "pt") as file:
            noted = file.metadata() or {}
    except (OSError, SafetensorError):
        return {}  # whoever needs the weights refuses the file
    return {
        "encoder": noted["encoder"],
        "crop_size": int(noted["crop_size"]),
        "stem": noted["stem"],
        **{name: json.loads(noted[name]) for name in ("mean", "std") if name in noted},
    }


def _classic(run: Mapping[str, Any]) -> dict[str, Any]:
    stem = {"stem": str(run["stem"])} if "stem" in run else {}  # the host's own script has none
    colours = _colours(run["dataset"], run)
    return {
        "encoder": str(run["encoder"]),
        "crop_size": int(run["crop_size"][0]),
        **stem,
        **colours,
    }


def _current(run: Mapping[str, Any]) -> dict[str, Any]:
    view = run["augmentations"][0]
    colours = _colours(run["data"]["dataset"], view)
    stem = (run["backbone"].get("kwargs") or {}).get("stem")
    if stem is None and run["backbone"]["name"] in HOST_NAMES:  # which the host builds by itself
        stem = "small" if run["data"]["dataset"] in CIFAR else "imagenet"
    return {
        "encoder": str(run["backbone"]["name"]),
        "crop_size": int(view["crop_size"]),
        **({"stem": str(stem)} if stem else {}),
        **colours,
    }


def _colours(dataset: str, given: Mapping[str, Any]) -> dict[str, list[float]]:
    if dataset not in FOLDERS:  # the host has means and deviations of its own for it
        return {}
    mean, std = given.get("mean", IMAGENET_DEFAULT_MEAN), given.get("std", IMAGENET_DEFAULT_STD)
    return {"mean": [float(value) for value in mean], "std": [float(value) for value in std]}


def _resolved(run: dict[str, Any]) -> Mapping[str, Any]:
    """Returns the settings with `${...}` resolved, which the current host writes unresolved."""
    if importlib.util.find_spec("omegaconf") is None:
        return run
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(run), resolve=True)  # type: ignore[return-value]
