"""The cross-entropy of images of which some, or all, may have no label."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def known_cross_entropy(logits: Tensor, labels: Tensor, count: Tensor | None = None) -> Tensor:
    """Computes the mean cross-entropy of the rows with a label.

    torch's own mean of no row is NaN, and to ask whether there is one waits for the device.

    Args:
        logits: of a linear classifier, shape (B, C).
        labels: shape (B,), from 0 to C - 1, or -1 where there is none.
        count: by what to divide the sum; None: the rows with a label, or 1.

    Returns:
        A scalar; 0 where no row has a label, with a gradient of zeros, which DDP asks for.
    """
    if count is None:
        count = (labels >= 0).sum().clamp(min=1)
    return cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / count
