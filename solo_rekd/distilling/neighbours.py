"""Neighbours among the held-out photos, and their places on a map."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.evaluation import agreement

K = 10  # neighbours per photo, at most
PART = 3  # at most one photo in this many is a neighbour, or all networks agree by chance


def neighbours_of(number: int) -> int:
    """Returns how many neighbours each of `number` photos has; `number` is 2 or more."""
    return min(K, max(1, (number - 1) // PART))


def nearest(features: Tensor) -> Tensor:
    """Finds the photos nearest to each by cosine, the nearest first, without the photo itself.

    Args:
        features: shape (N, f), N at least 2.

    Returns:
        Indexes, shape (N, neighbours_of(N)), int64.

    Raises:
        UserError: a feature is not finite.
    """
    return agreement.nearest(features, neighbours_of(len(features)))


def agree(near: Tensor, teachers: Tensor) -> float:
    """Returns the share of a teacher's nearest photos that are also a network's, in [0, 1].

    Args:
        near: the network's nearest photos, shape (N, k).
        teachers: the teacher's nearest photos, shape (N, k).
    """
    return float(agreement.shared_neighbours(near, teachers).mean())


def chance(number: int) -> float:
    """Returns the agreement that two unrelated networks have by chance, for `number` photos."""
    return agreement.chance(number, neighbours_of(number))


def plane(features: Tensor) -> tuple[np.ndarray, float]:
    """Projects photos on the first two principal components of their unit features.

    Args:
        features: shape (N, f), N at least 2.

    Returns:
        Points in [0, 1] in both directions, shape (N, 2), and the share of the variance that the
        two components explain, NaN where all features are the same.
    """
    units = normalize(features.double(), dim=1)
    left, values, _ = torch.linalg.svd(units - units.mean(0), full_matrices=False)
    points = (left * values)[:, :2]
    if points.shape[1] < 2:
        points = torch.cat([points, torch.zeros(len(points), 1)], 1)
    total = float(values.square().sum())
    explained = float(values[:2].square().sum()) / total if total > 0 else float("nan")
    spread = (points.amax(0) - points.amin(0)).clamp(min=1e-12)
    return ((points - points.amin(0)) / spread).numpy(), explained
