"""Mixup (arXiv 1710.09412): each image of a batch becomes a mean of itself and of another.

One share and one permutation a batch, for all its views.
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
        share: of the image itself, from 0.5 to 1; the rest is its partner's.
        partners: the place of each image's partner in the batch, shape (B,).
    """

    share: float
    partners: Tensor

    def rows(self, values: Tensor) -> Tensor:
        """The mean of each row and its partner's, by their shares: (B, ...) to (B, ...)."""
        return self.share * values + (1 - self.share) * values[self.partners]


def draw(alpha: float, batch: int, seed: int, device: torch.device | str = "cpu") -> Mixed:
    """Draws how a batch is mixed; neither torch's random numbers are used nor a device waited for.

    Args:
        alpha: of Beta(alpha, alpha), above 0.
        batch: images B.
        seed: decides all that is drawn.
        device: of the partners.

    Returns:
        A share that is the larger of the one drawn and the rest, so that a row's own label is that
        of the larger part. With the inverse permutation these are the same mixed images.
    """
    rng = np.random.default_rng(seed)
    drawn = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(batch))
    return Mixed(max(drawn, 1 - drawn), partners.to(device, non_blocking=True))


def class_loss(logits: Tensor, labels: Tensor, mixed: Mixed | None) -> Tensor:
    """Computes the cross-entropy of mixed images: that with each one's label, by its share.

    Args:
        logits: of one view or of several, one after the other, shape (V B, C).
        labels: shape (B,), from 0 to C - 1, or -1 where there is none.
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
