"""The GPUs that this machine's runs may use, and the one for the next run."""

import os
from collections import Counter
from collections.abc import Iterable

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Lists the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them.

    Where that variable is set, its names are kept: numbers or UUIDs.
    """
    import torch  # late, because help for the options does not need it

    count = torch.cuda.device_count()
    given = os.environ.get(VISIBLE)
    names = [str(number) for number in range(count)] if given is None else given.split(",")
    return [name.strip() for name in names[:count]]


def least_used(gpus: list[str], used: Iterable[str | None]) -> str | None:
    """Returns the first of the GPUs with the fewest runs; None where there is no GPU.

    Args:
        gpus: names of all GPUs.
        used: GPU of every running run.
    """
    runs = Counter(used)
    return min(gpus, key=lambda name: runs[name], default=None)
