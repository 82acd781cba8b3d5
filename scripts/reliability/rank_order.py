"""`solo-rekd`, with each batch in the order in which several processes gather their shares of it.

Run as a script, which Lightning starts once more for every further process.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data.distributed import DistributedSampler

# variables of the environment
PROCESSES, BATCH = "RANK_ORDER_PROCESSES", "RANK_ORDER_BATCH"


def in_rank_order(order: Sequence[int], processes: int, batch: int) -> list[int]:
    """Puts the images of an epoch in that order.

    Lightning gives the process of rank r every n-th image from the r-th on.

    Args:
        order: of the images.
        processes: n.
        batch: images of all processes.
    """
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    return [each for part in batches for rank in range(processes) for each in part[rank::processes]]


def main() -> None:
    """Runs the command of this process's words."""
    from solo_rekd import cli

    processes, batch = int(os.environ[PROCESSES]), int(os.environ[BATCH])
    drawn: Any = DistributedSampler.__iter__

    def ordered(self: Any) -> Iterator[int]:
        return iter(in_rank_order([*drawn(self)], processes, batch))

    DistributedSampler.__iter__ = ordered  # type: ignore
    cli.main()


if __name__ == "__main__":
    main()
