"""Bags: for each training image, the training images most similar to it for a frozen teacher.

They are found by an exact kNN on the teacher's features of the images without augmentation;
`teacher_cache.py` keeps them for the next run with the same data and the same teacher.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.objectives import teacher_cache
from solo_rekd.objectives.teacher_cache import Put, Table, Wanted
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.errors import refuse
from solo_rekd.utils.progress import bar

QUERIES, ENTRIES = 16384, 4096  # similarities at a time: 256 MiB


class Bags(NamedTuple):
    """The bag and the teacher's embedding of every training image.

    Attributes:
        members: indexes in the training set of the k images most similar to each, without itself,
            the most similar first, shape (N, k).
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
    key: str = "bag_size",
) -> Bags:
    """Reads the bags of a training set from the cache, or finds them: see `teacher_cache.find`.

    Args:
        teacher: teacher, already on `device`.
        stem: value of the setting `teacher_stem`.
        images: loader of the training set in order, without augmentation, in batches of
            (indexes, images, anything); its data set lists the images (`fingerprint`).
        size: k, images in a bag.
        folder: folder of the cache.
        device: device for the computation and the bags.
        key: name of the setting for k, for the message.

    Raises:
        UserError: there are too few images for a bag, or they cannot be identified.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    if size >= number:
        raise refuse(key, size, f"at most {number - 1}, one less than the number of images")

    def compute(put: Put) -> None:
        bags, places = compute_bags(teacher, images, size, device), torch.arange(number)
        put("members", places, bags.members)
        put("embeddings", places, bags.embeddings)

    def fits(tensors: Mapping[str, Tensor]) -> bool:
        members = tensors["members"]
        return 0 <= int(members.min()) <= int(members.max()) < number

    tables = {
        "members": Table((number, size), torch.int32),
        "embeddings": Table((number, teacher.embedding_dim), torch.float32),
    }
    wanted = Wanted(f"bags of {size}", {"bag_size": str(size)}, tables, compute, fits)
    found = teacher_cache.find(wanted, teacher, stem, images.dataset, folder)
    # a copy, because every step reads them at random, and all of them go to the device
    return Bags(found["members"].long().to(device), found["embeddings"].clone().to(device))


def compute_bags(
    teacher: FrozenTeacher, images: DataLoader, size: int, device: torch.device
) -> Bags:
    """Finds the bags, on the CPU."""
    features, embeddings = embed_images(teacher, images, device)
    return Bags(nearest_others(features, size, device), embeddings)


def embed_images(
    teacher: FrozenTeacher, images: DataLoader, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Computes L2-normalised features (N, F) and embeddings (N, d) of all images, on the CPU.

    The results are in the order of the images, whatever the order of the batches.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    features = torch.empty(number, teacher.num_features)
    embeddings = torch.empty(number, teacher.embedding_dim)
    for places, batch, *_ in bar(images, "teacher's features", "batch"):
        found, units = teacher(batch.to(device, teacher.dtype))
        features[places] = normalize(found.float(), dim=1).cpu()
        embeddings[places] = units.float().cpu()
    return features, embeddings


def nearest_others(features: Tensor, size: int, device: torch.device) -> Tensor:
    """Finds for every row the indexes of the rows most similar to it, without itself.

    It is exact, and works in chunks: memory is linear in the number of rows.

    Args:
        features: L2-normalised rows, shape (N, F), N above `size`.
        size: k, at least 1.
        device: device for the computation.

    Returns:
        Indexes, shape (N, k), the most similar first.
    """
    rows = torch.arange(len(features), device=device)
    found = []
    with bar(None, f"{size} nearest images", "image", len(rows)) as shown:
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
            shown.update(len(some))
    return torch.cat(found)
