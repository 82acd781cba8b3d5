"""The processes of a distributed training, and what they tell each other."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def is_distributed() -> bool:
    """Whether this process belongs to a group of `torch.distributed`."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether this is the first process of its group, or the only one."""
    return not is_distributed() or dist.get_rank() == 0


def rank() -> int:
    """Returns the number of this process among those that train together, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Returns how many processes train together, 1 if this one trains alone."""
    return dist.get_world_size() if is_distributed() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """Sums every process's values, in place, with the same bits in all of them."""
    if is_distributed():
        dist.all_reduce(values)
    return values


def add_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's values, with gradient.

    A function of the sum is the same in every process. The mean over the processes of its
    gradients, which DDP takes, is its gradient in all that the sum was made of.
    """
    return _Add.apply(values) if is_distributed() else values


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_over_processes(values.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_over_processes(grad.clone())


def count_over_processes(counted: Tensor) -> Tensor:
    """By what to divide a sum over this process's counted rows, so that all count alike.

    The mean over the processes is then that of all counted rows, however they are shared out; of
    unequal batches, that which is weighted by their rows.

    Args:
        counted: which rows count, shape (B,).

    Returns:
        A scalar above 0; with one process how many rows count, or 1.
    """
    number = counted.sum()
    if not is_distributed():
        return number.clamp(min=1)
    both = torch.stack([number, torch.full_like(number, len(counted))])
    number, rows = sum_over_processes(both).double()
    return number.clamp(min=1) * len(counted) / rows


def numbers_of_processes(number: int) -> tuple[int, ...]:
    """A number of each process, in rank order: by way of the CPU, so that no device is waited for.

    Args:
        number: this process's, which is at least 0.
    """
    if not is_distributed():
        return (number,)
    found = [torch.zeros(1, dtype=torch.long) for _ in range(world_size())]
    dist.all_gather(found, torch.tensor([number]), group_of_hosts())
    return tuple(int(each) for each in found)


_of_hosts: tuple[Any, Any] | None = None  # a group for tensors on the CPU, and whose it is


def group_of_hosts() -> Any:
    """A group of all processes for tensors on the CPU; all make it at the same place."""
    global _of_hosts
    world = dist.group.WORLD
    if _of_hosts is None or _of_hosts[0] is not world:
        own = world if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
        _of_hosts = world, own
    return _of_hosts[1]
