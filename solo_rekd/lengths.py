"""Lengths that follow from the data and the training: of the queue, the bank and the warm-up."""

from typing import NamedTuple

AUTO = "auto"  # stands for a number until the training is known
# training images, and the keys of a queue from that number of images on
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
SHARE = 10  # a queue is filled, and a teacher warm, within one part of so many of the training
PROTOTYPES = 100
MEMBERS = 4  # entries of the queue for each prototype, at least
IMAGES = 30  # for each prototype, where all images are related at once
WARMUP = 10  # epochs, at most


class Training(NamedTuple):
    """How long a training is.

    Attributes:
        images: in the training set.
        batch: images of a step, of all processes.
        steps: batches of an epoch.
        epochs: of the training.
    """

    images: int
    batch: int
    steps: int
    epochs: int

    @property
    def seen(self) -> int:
        """Images of all steps."""
        return self.batch * self.steps * self.epochs


def queue_size(training: Training, keys_per_image: int = 1) -> int:
    """The length of a queue: a power of two that the first tenth of the training fills.

    Where a tenth of the training is less than one batch, the queue has the keys of a batch, which
    the first step fills.

    Args:
        training: see `Training`.
        keys_per_image: entries that an image adds to the queue in an epoch.

    Returns:
        Keys, at least 1: those of `QUEUES`, times `keys_per_image`, or fewer.
    """
    listed = max(keys for images, keys in QUEUES if training.images >= images)
    filled = max(power_of_two(training.batch), power_of_two(training.seen // SHARE))
    return min(keys_per_image * listed, filled)


def whole_batches(size: int, batch: int) -> int:
    """The multiple of a batch that is nearest below `size`, at least one batch, as MoCo asks."""
    return max(1, size // batch) * batch


def num_prototypes(queue: int) -> int:
    """The size of a bank whose prototypes have `MEMBERS` entries of the queue each, at least."""
    return max(1, min(PROTOTYPES, queue // MEMBERS))


def image_prototypes(images: int) -> int:
    """The size of a bank over all training images, with `IMAGES` of them for each prototype."""
    return max(1, images // IMAGES)


def warmup_epochs(epochs: int) -> int:
    """Epochs in which a teacher from scratch trains alone: a tenth of all, `WARMUP` at most."""
    return min(WARMUP, epochs // SHARE)


def power_of_two(number: int) -> int:
    """The largest power of two that is not above `number`; 1 for a number below 1."""
    return 1 << max(0, number.bit_length() - 1)
