"""Mixup (arXiv 1710.09412): each image of a batch becomes a weighted mean of itself and another.

There is one share and one permutation per batch, for all its views.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from solo_rekd.losses import known_cross_entropy
from solo_rekd.utils.processes import count_over_processes


class Mixed(NamedTuple):
    """How the images of a batch are mixed.

    Attributes:
        share: share of the image itself, from 0.5 to 1; the rest is its partner's.
        partners: index of each image's partner in the batch, shape (B,).
    """

    share: float
    partners: Tensor

    def rows(self, values: Tensor) -> Tensor:
        """Returns the weighted mean of each row and its partner's: (B, ...) to (B, ...)."""
        return self.share * values + (1 - self.share) * values[self.partners]


def draw(alpha: float, batch: int, seed: int, device: torch.device | str = "cpu") -> Mixed:
    """Draws the mix of a batch, without using torch's random numbers or waiting for a device.

    Args:
        alpha: alpha of Beta(alpha, alpha), above 0.
        batch: number of images B.
        seed: seed of the draw.
        device: device of the partners.

    Returns:
        A mix whose share is the larger of the drawn share and its rest, so that a row's own label
        belongs to the larger part. With the inverse permutation, the mixed images are the same.
    """
    rng = np.random.default_rng(seed)
    drawn = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(batch))
    return Mixed(max(drawn, 1 - drawn), partners.to(device, non_blocking=True))


def class_loss(logits: Tensor, labels: Tensor, mixed: Mixed | None) -> Tensor:
    """Computes the cross-entropy of mixed images with both labels, weighted by their shares.

    Args:
        logits: logits of one or more views, one after the other, shape (V B, C).
        labels: shape (B,), from 0 to C - 1, or -1 for images without one.
        mixed: how the images were mixed; None: they were not.

    Returns:
        A scalar, see `known_cross_entropy`; of several processes the mean is that of all labels.
    """
    views = len(logits) // len(labels)
    count = views * count_over_processes(labels >= 0)  # of the partners as many
    own = known_cross_entropy(logits, labels.repeat(views), count)
    if mixed is None:
        return own
    partners = known_cross_entropy(logits, labels[mixed.partners].repeat(views), count)
    return mixed.share * own + (1 - mixed.share) * partners
