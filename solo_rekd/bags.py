"""Bags: the training images most alike to each training image, as a frozen teacher sees them.

They are found once, by an exact kNN over the teacher's features of the images without
augmentation, and kept in a cache for the next run with the same data and the same teacher.
"""

import datetime
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader
from tqdm import tqdm

from solo_rekd.bars import bar_interval
from solo_rekd.errors import UserError, refuse
from solo_rekd.files import user_cache
from solo_rekd.fingerprint import fingerprint
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.versions import versions

_log = logging.getLogger("solo_rekd")

FORMAT = "2"  # of the cache: a change of what is found or kept makes the old files useless
QUERIES, ENTRIES = 16384, 4096  # similarities at a time: 256 MiB
PACKAGES = ("torch", "torchvision", "timm", "pillow")  # that decide pixels and features
PATIENCE = datetime.timedelta(days=1)  # of the processes that wait for the first one


class Bags(NamedTuple):
    """Every training image's bag, and what the teacher says of every training image.

    Attributes:
        members: places in the training set of the k images most alike to each, itself left out,
            the most alike first, shape (N, k).
        embeddings: the teacher's L2-normalised embedding of each image, shape (N, d).
    """

    members: Tensor
    embeddings: Tensor


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
        "dtype": str(teacher.dtype),
        "device": teacher.device.type,
        **versions(PACKAGES),
    }


def compute_bags(
    teacher: FrozenTeacher, images: DataLoader, size: int, device: torch.device
) -> Bags:
    """Finds the bags: see `find_bags`."""
    features, embeddings = embed_images(teacher, images, device)
    return Bags(nearest_others(features, size, device), embeddings)


def embed_images(
    teacher: FrozenTeacher, images: DataLoader, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The teacher's L2-normalised features (N, F) and embeddings (N, d) of all images, on the CPU.

    The images are put in their places, whatever the order of the batches.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    features = torch.empty(number, teacher.num_features)
    embeddings = torch.empty(number, teacher.embedding_dim)
    for places, batch, *_ in tqdm(images, desc="teacher's features", unit="batch", **_bar()):
        found, units = teacher(batch.to(device, teacher.dtype))
        features[places] = normalize(found.float(), dim=1).cpu()
        embeddings[places] = units.float().cpu()
    return features, embeddings


def nearest_others(features: Tensor, size: int, device: torch.device) -> Tensor:
    """For every row the places of the rows most similar to it, itself left out.

    Exact, in chunks: memory is linear in the number of rows.

    Args:
        features: L2-normalised rows, shape (N, F), N above `size`.
        size: k, at least 1.
        device: where to compute.

    Returns:
        Shape (N, k), the most similar first.
    """
    rows = torch.arange(len(features), device=device)
    found = []
    with tqdm(total=len(rows), desc=f"{size} nearest images", unit="image", **_bar()) as bar:
        for some, queries in zip(rows.split(QUERIES), features.split(QUERIES), strict=True):
            queries = queries.to(device)
            similarities, places = queries.new_empty(len(some), 0), some.new_empty(len(some), 0)
            for others, entries in zip(rows.split(ENTRIES), features.split(ENTRIES), strict=True):
                new = queries @ entries.to(device).T
                new.masked_fill_(some[:, None] == others, -torch.inf)
                best, columns = new.topk(min(size, len(others)), dim=1)
                similarities = torch.cat([similarities, best], dim=1)
                places = torch.cat([places, others[columns]], dim=1)
                similarities, columns = similarities.topk(min(size, similarities.shape[1]), dim=1)
                places = places.gather(1, columns)
            found.append(places.cpu())
            bar.update(len(some))
    return torch.cat(found)


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


@contextmanager
def first_process_first() -> Iterator[None]:
    """Lets the other processes in when the first one is out, and none out before all are.

    Where the block raises in one process, all of them end at once.

    Raises:
        UserError: another process met a mistake of the user's.
        RuntimeError: another process failed.
    """
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    # a group of its own: NCCL gives up on the others after ten minutes
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        if dist.get_rank() != 0:
            _exchange(None, group)
        try:
            yield
        except BaseException as error:
            _exchange(error, group)
            raise
        if dist.get_rank() == 0:
            _exchange(None, group)
        _exchange(None, group)
    finally:
        dist.destroy_process_group(group)


def _exchange(error: BaseException | None, group: dist.ProcessGroup) -> None:
    """Waits for all processes, and raises what another one met, unless this one has an error."""
    mine = error and (isinstance(error, UserError), str(error) or type(error).__name__)
    all_errors: list[tuple[bool, str] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(all_errors, mine, group)
    for rank, theirs in enumerate(all_errors):
        if theirs is not None and error is None:
            of_user, message = theirs
            raise UserError(message) if of_user else RuntimeError(f"process {rank}: {message}")


def _bar() -> dict[str, Any]:
    """What every progress bar has: one process shows it."""
    other = dist.is_available() and dist.is_initialized() and dist.get_rank() != 0
    return {"disable": other, "mininterval": bar_interval(), "dynamic_ncols": True}
