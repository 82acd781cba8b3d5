"""A ring buffer of keys, each with further fields, the same on every rank."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from solo_rekd.modules.counters import Counters
from solo_rekd.utils.processes import is_distributed, world_size


def gather(values: Tensor, numbers: Sequence[int] | None = None) -> Tensor:
    """Concatenates every rank's `values` along the first dimension, in rank order, no gradient.

    Args:
        values: shape (B, ...).
        numbers: B of each rank; None: all ranks have the same.
    """
    if not is_distributed():
        return values
    if numbers is None:
        numbers = [len(values)] * world_size()
    values, most = values.detach().contiguous(), max(numbers)
    if most > len(values):  # a collective takes the same shape of all
        values = torch.cat([values, values.new_zeros(most - len(values), *values.shape[1:])])
    parts = [torch.empty_like(values) for _ in numbers]
    dist.all_gather(parts, values)
    return torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])


class KeyQueue(Counters):
    """The last `size` entries of several index-aligned fields (arXiv 1911.05722, section 3.2).

    A batch need not divide `size`. Each field is a buffer named after it; entries are overwritten
    oldest first.

    Args:
        fields: initial content of each field, shape (size, ...), with the same size for all.
    """

    def __init__(self, **fields: Tensor) -> None:
        super().__init__(pointer=0, seen=0)
        self.names = tuple(fields)
        self.size = len(fields[self.names[0]])
        for name, content in fields.items():
            self.register_buffer(name, content)

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    @property
    def full(self) -> bool:
        """Whether every initial entry has been overwritten."""
        return self.number("seen") >= self.size

    @torch.no_grad()
    def push(self, **values: Tensor) -> None:
        """Writes one batch of every field, already gathered over the ranks.

        Args:
            values: a tensor of shape (B, ...) for each field; other names are ignored. Of a batch
                longer than the queue, the last `size` entries stay.
        """
        batch = len(values[self.names[0]])
        kept = min(batch, self.size)
        start = (self.number("pointer") + batch - kept) % self.size
        before_end = min(kept, self.size - start)
        for name in self.names:
            newest = values[name][batch - kept :]
            self[name][start : start + before_end] = newest[:before_end]
            self[name][: kept - before_end] = newest[before_end:]
        self.set_number("pointer", (start + kept) % self.size)
        self.set_number("seen", self.number("seen") + batch)

    def newest(self, count: int) -> dict[str, Tensor]:
        """Returns the last `count` entries of every field, at most `size`, the newest first."""
        device = self[self.names[0]].device
        back = torch.arange(1, min(count, self.size) + 1, device=device)
        places = (self.number("pointer") - back) % self.size
        return {name: self[name][places] for name in self.names}


def random_keys(size: int, dim: int) -> Tensor:
    """Returns random unit vectors, shape (size, dim), the initial queue of MoCo."""
    return nn.functional.normalize(torch.randn(size, dim), dim=1)
