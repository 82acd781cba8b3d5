"""The order of a run's images, and what its loader's workers draw: decided by the seed alone."""

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
