"""Times value and gradient of the host's MoCo loss, our InfoNCE and the relation contrast.

Usage: OMP_NUM_THREADS=1 python scripts/benchmark_loss.py
"""

import statistics
import time

import torch
from torch.nn.functional import normalize

from solo_rekd import hosts
from solo_rekd.losses import info_nce_loss, relation_contrast_loss

BATCH, QUEUE, DIM, PROTOTYPES, REPEATS = 256, 65536, 128, 3000, 7


def main() -> None:
    """Prints the median seconds of each loss and their ratio to the host's, measured in turns."""
    hosts.activate()
    from solo.losses.moco import moco_loss_func

    torch.manual_seed(0)
    query = normalize(torch.randn(BATCH, DIM), dim=1).requires_grad_()
    key, queue = (normalize(torch.randn(size, DIM), dim=1) for size in (BATCH, QUEUE))
    host_queue = queue.T.contiguous()
    ids, queue_ids = (torch.randint(0, PROTOTYPES, (size,)) for size in (BATCH, QUEUE))
    losses = {
        "host's MoCo": lambda: moco_loss_func(query, key, host_queue, 0.2),
        "InfoNCE": lambda: info_nce_loss(query, key, queue, 0.2),
        "relation contrast": lambda: relation_contrast_loss(
            query, key, queue, ids, queue_ids, PROTOTYPES, 0.2, 0.5
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(REPEATS):
        for name, loss in losses.items():
            started = time.perf_counter()
            loss().backward()
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["host's MoCo"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:<20}{median:8.3f} s{median / base:8.2f}")


if __name__ == "__main__":
    main()
