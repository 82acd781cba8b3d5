"""The cross-entropy of images where some, or all, may have no label."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def known_cross_entropy(logits: Tensor, labels: Tensor, count: Tensor | None = None) -> Tensor:
    """Computes the mean cross-entropy of the rows with a label.

    torch's own mean over no rows is NaN, and checking for that would wait for the device.

    Args:
        logits: logits of a linear classifier, shape (B, C).
        labels: shape (B,), from 0 to C - 1, or -1 for images without one.
        count: divisor of the sum; None: the number of rows with a label, or 1.

    Returns:
        A scalar; 0 where no row has a label, with a gradient of zeros, which DDP needs.
    """
    if count is None:
        count = (labels >= 0).sum().clamp(min=1)
    return cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / count
