"""The order of a run's images, what its loader's workers draw, and how its batches are mixed.

The seed alone decides them.
"""

import numpy as np


def seed_of_epoch(seed: int, epoch: int, rank: int) -> int:
    """The seed of one epoch's order, from which the workers of its loader get theirs.

    Args:
        seed: of the run, at least 0.
        epoch: from 0.
        rank: of the process, from 0.
    """
    # mixed, or the second epoch of one seed would be the first of the next
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0])


def seed_of_step(seed: int, epoch: int, rank: int, step: int) -> int:
    """The seed of what one step draws for its batch; see `seed_of_epoch`.

    Args:
        seed: of the run, at least 0.
        epoch: from 0.
        rank: of the process, from 0.
        step: within the epoch, from 0.
    """
    # as a spawn key, or the first step would have the seed of the epoch
    mixed = np.random.SeedSequence((seed, epoch, rank), spawn_key=(step,))
    return int(mixed.generate_state(1)[0])
