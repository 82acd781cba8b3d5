"""The cache of bags: one file for a training set, a teacher and a size of bag."""

import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.objectives.bags import Bags, compute_bags
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.teachers.teacher import SEEN
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.files import user_cache
from solo_rekd.utils.processes import first_process_first
from solo_rekd.utils.versions import versions

_log = logging.getLogger("solo_rekd")

FORMAT = "2"  # of the cache: a change of what is found or kept makes the old files useless
PACKAGES = ("torch", "torchvision", "timm", "pillow")  # that decide pixels and features


def find_bags(
    teacher: FrozenTeacher,
    stem: str,
    images: DataLoader,
    size: int,
    folder: Path,
    device: torch.device,
) -> Bags:
    """Reads the bags of a training set from the cache, or finds them and writes them there.

    With several processes the first one finds them and the others read its file; one that cannot
    see that file, or has the images in another order, finds its own.

    Args:
        teacher: moved to `device` already.
        stem: the setting `teacher_stem`, of which a checkpoint may say nothing.
        images: gives the training set in its order, without augmentation, in batches of
            (places, images, anything); its data set lists the images (`fingerprint`).
        size: k, images in a bag.
        folder: of the cache.
        device: where to compute, and where the bags go.

    Raises:
        UserError: there are too few images for a bag, or they cannot be told from others.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    if size >= number:
        raise refuse("bag_size", size, f"at most {number - 1}, for there are {number} images")
    with first_process_first():  # which keeps the digests of the images for the others
        key = describe(teacher, stem, images.dataset, size)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = folder / f"{digest[:32]}.safetensors"
        bags = read_bags(path, key, number, teacher.embedding_dim)
        if bags is None:
            bags = compute_bags(teacher, images, size, device)
            write_bags(path, bags, key)
    return Bags(*(tensor.to(device) for tensor in bags))


def cache_folder(given: str | None) -> Path:
    """The folder of the cache: the one given, or `solo-rekd` in the user's folder for caches."""
    if given is not None:
        return Path(given).expanduser()
    return user_cache() / "bags"


def describe(teacher: FrozenTeacher, stem: str, dataset: Any, size: int) -> dict[str, str]:
    """All that the bags depend on; the path of the teacher's checkpoint is not among it.

    Raises:
        UserError: the images cannot be told from others, or cannot be read.
    """
    if hasattr(dataset, "h5_path"):
        raise UserError("bags are found in image folders, CIFAR and STL-10: give the data as one")
    return {
        "format": FORMAT,
        "bag_size": str(size),
        "data": fingerprint(dataset),
        "transform": repr(dataset.transform),
        "teacher": str(teacher.identity["name"]),
        "teacher_sha256": str(teacher.identity["sha256"]),
        "teacher_stem": stem,
        "teacher_sees": str([teacher.identity.get(name) for name in SEEN]),
        "dtype": str(teacher.dtype),
        "device": teacher.device.type,
        **versions(PACKAGES),
    }


def read_bags(path: Path, key: dict[str, str], number: int, dim: int) -> Bags | None:
    """Reads a file of the cache; None where there is none, or none that is whole.

    Args:
        path: the file.
        key: what the bags depend on.
        number: N, training images.
        dim: d, width of the embeddings.
    """
    try:
        with safe_open(path, "pt") as file:
            whole = file.metadata() == key
            bags = Bags(file.get_tensor("members").long(), file.get_tensor("embeddings"))
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        _log.warning("the bags in %s cannot be read and are found again: %s", path, error)
        return None
    shapes = [tuple(tensor.shape) for tensor in bags]
    whole = whole and shapes == [(number, int(key["bag_size"])), (number, dim)]
    if not (whole and 0 <= int(bags.members.min()) <= int(bags.members.max()) < number):
        _log.warning("%s is not the bags that it is named for: they are found again", path)
        return None
    _log.info("bags of %s among %d images from %s", key["bag_size"], number, path)
    return bags


def write_bags(path: Path, bags: Bags, key: dict[str, str]) -> None:
    """Writes a file of the cache, whole or not at all; a run goes on without it."""
    tensors = {"members": bags.members.int(), "embeddings": bags.embeddings}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            save_file(tensors, unfinished, metadata=key)
            unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        _log.warning("the bags are not kept for the next run, see bag_cache: %s", error)
        return
    _log.info("bags of %s kept in %s", key["bag_size"], path)
