"""A ring buffer of keys with the fields that belong to each key, the same on every rank."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from solo_rekd.utils.processes import is_distributed


def gather(values: Tensor) -> Tensor:
    """Concatenates `values` of every rank along the first dimension, in rank order; no gradient."""
    if not is_distributed():
        return values
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


class KeyQueue(nn.Module):
    """The last `size` entries of several index-aligned fields (arXiv 1911.05722, section 3.2).

    A batch need not divide `size`. Each field is a buffer named after it; entries are overwritten
    oldest first.

    Args:
        fields: the initial content of each field, shape (size, ...), the same size for all.
    """

    pointer: Tensor
    seen: Tensor

    def __init__(self, **fields: Tensor) -> None:
        super().__init__()
        self.names = tuple(fields)
        self.size = len(fields[self.names[0]])
        for name, content in fields.items():
            self.register_buffer(name, content)
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.long))

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    @property
    def full(self) -> bool:
        """Whether every initial entry has been overwritten."""
        return int(self.seen) >= self.size

    @torch.no_grad()
    def push(self, **values: Tensor) -> None:
        """Writes one batch of every field, already gathered over the ranks.

        Args:
            values: a tensor of shape (B, ...) for each field; of a batch longer than the queue,
                the last `size` entries stay.
        """
        batch = len(values[self.names[0]])
        kept = min(batch, self.size)
        start = self.pointer + (batch - kept)
        slots = (start + torch.arange(kept, device=self.pointer.device)) % self.size
        for name in self.names:
            self[name][slots] = values[name][-kept:].to(self[name].dtype)
        self.pointer.copy_((self.pointer + batch) % self.size)
        self.seen += batch


def random_keys(size: int, dim: int) -> Tensor:
    """Random unit vectors, shape (size, dim), with which MoCo starts its queue."""
    return nn.functional.normalize(torch.randn(size, dim), dim=1)
