"""Bags: the training images most alike to each training image, as a frozen teacher sees them.

They are found by an exact kNN over the teacher's features of the images without augmentation;
`bag_cache.py` keeps them for the next run with the same data and the same teacher.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.progress import bar

QUERIES, ENTRIES = 16384, 4096  # similarities at a time: 256 MiB


class Bags(NamedTuple):
    """Every training image's bag, and what the teacher says of every training image.

    Attributes:
        members: places in the training set of the k images most alike to each, itself left out,
            the most alike first, shape (N, k).
        embeddings: the teacher's L2-normalised embedding of each image, shape (N, d).
    """

    members: Tensor
    embeddings: Tensor


def compute_bags(
    teacher: FrozenTeacher, images: DataLoader, size: int, device: torch.device
) -> Bags:
    """Finds the bags: see `bag_cache.find_bags`."""
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
    for places, batch, *_ in bar(images, "teacher's features", "batch"):
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
