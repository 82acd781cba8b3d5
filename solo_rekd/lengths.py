"""Lengths of the queue, the bank and the warm-up, as they follow from data and training."""

from typing import NamedTuple

AUTO = "auto"  # replaced by a number once the training is known
# least number of training images, and the keys of a queue for that many images
QUEUES = (
    (0, 16),
    (51, 32),
    (150, 64),
    (300, 128),
    (600, 256),
    (1_250, 512),
    (2_500, 1_024),
    (5_000, 2_048),
    (10_000, 4_096),
    (20_000, 8_192),
    (100_000, 16_384),
    (300_000, 32_768),
    (1_000_000, 65_536),  # MoCo's, arXiv 1911.05722
)
SHARE = 10  # a queue is filled, and a teacher warmed up, within this fraction (1/10) of training
PROTOTYPES = 100
MEMBERS = 4  # entries of the queue per prototype, at least
IMAGES = 30  # per prototype, where all images are related at once
WARMUP = 10  # epochs, at most


class Training(NamedTuple):
    """The length of a training.

    Attributes:
        images: images in the training set.
        batch: images per step, over all processes.
        steps: steps per epoch.
        epochs: epochs of the training.
    """

    images: int
    batch: int
    steps: int
    epochs: int

    @property
    def seen(self) -> int:
        """Images seen in all steps together."""
        return self.batch * self.steps * self.epochs


def queue_size(training: Training, keys_per_image: int = 1) -> int:
    """Returns the length of a queue: a power of two that the first tenth of the training fills.

    Where a tenth of the training is less than one batch, the queue holds the keys of one batch,
    which the first step fills.

    Args:
        training: see `Training`.
        keys_per_image: entries per image that an epoch adds to the queue.

    Returns:
        Keys, at least 1 and at most those of `QUEUES` times `keys_per_image`.
    """
    listed = max(keys for images, keys in QUEUES if training.images >= images)
    filled = max(power_of_two(training.batch), power_of_two(training.seen // SHARE))
    return min(keys_per_image * listed, filled)


def whole_batches(size: int, batch: int) -> int:
    """Rounds `size` down to whole batches, at least one, as MoCo requires."""
    return max(1, size // batch) * batch


def num_prototypes(queue: int) -> int:
    """Returns the size of a bank with at least `MEMBERS` entries of the queue per prototype."""
    return max(1, min(PROTOTYPES, queue // MEMBERS))


def image_prototypes(images: int) -> int:
    """Returns the size of a bank over all training images, with `IMAGES` per prototype."""
    return max(1, images // IMAGES)


def warmup_epochs(epochs: int) -> int:
    """Returns the epochs before a new teacher's relations count: a tenth, at most `WARMUP`."""
    return min(WARMUP, epochs // SHARE)


def power_of_two(number: int) -> int:
    """Returns the largest power of two up to `number`; 1 for a number below 1."""
    return 1 << max(0, number.bit_length() - 1)
