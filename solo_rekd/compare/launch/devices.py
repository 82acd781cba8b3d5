"""The GPUs that this machine's runs may use, and which of them is the next run's."""

import os
from collections import Counter
from collections.abc import Iterable

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them.

    Where that variable is set, they keep the names that it has for them: numbers or UUIDs.
    """
    import torch  # late: a comparison's options are described without it

    count = torch.cuda.device_count()
    given = os.environ.get(VISIBLE)
    names = [str(number) for number in range(count)] if given is None else given.split(",")
    return [name.strip() for name in names[:count]]


def least_used(gpus: list[str], used: Iterable[str | None]) -> str | None:
    """The first of the GPUs that have the fewest runs; None where there is no GPU.

    Args:
        gpus: names of all.
        used: the GPU of every run at work.
    """
    runs = Counter(used)
    return min(gpus, key=lambda name: runs[name], default=None)
