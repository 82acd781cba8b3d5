"""Which held-out photos are compared as neighbours, and where a photo lies on a map."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.evaluation import agreement

K = 10  # neighbours by which networks are compared, at most
PART = 3  # of the photos, one of so many is a neighbour at most, or all agree by chance


def neighbours_of(number: int) -> int:
    """How many neighbours a photo has, of a number of photos that is 2 or more."""
    return min(K, max(1, (number - 1) // PART))


def nearest(features: Tensor) -> Tensor:
    """The photos nearest to each by cosine, the nearest first, without the photo itself.

    Args:
        features: shape (N, f), N at least 2.

    Returns:
        Places, shape (N, neighbours_of(N)), int64.

    Raises:
        UserError: a feature is not finite.
    """
    return agreement.nearest(features, neighbours_of(len(features)))


def agree(near: Tensor, teachers: Tensor) -> float:
    """The share of a teacher's nearest photos that are a network's too, in [0, 1].

    Args:
        near: of the network, shape (N, k).
        teachers: of the teacher, the same shape.
    """
    return float(agreement.shared_neighbours(near, teachers).mean())


def chance(number: int) -> float:
    """The agreement of two networks that have nothing in common, for a number of photos."""
    return agreement.chance(number, neighbours_of(number))


def plane(features: Tensor) -> tuple[np.ndarray, float]:
    """Photos on the first two principal components of their unit features.

    Args:
        features: shape (N, f), N at least 2.

    Returns:
        Points in [0, 1] each way, shape (N, 2), and the share of the variance that both components
        have, which is not a number where all features are the same.
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
