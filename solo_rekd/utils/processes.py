"""The processes of a distributed training, and their order."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor

from solo_rekd.utils.errors import UserError

PATIENCE = datetime.timedelta(days=1)  # time limit for processes that wait for the first one


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


@contextmanager
def first_process_first() -> Iterator[None]:
    """Runs the block in the first process, then in the others, and waits for all at the end.

    If the block raises in one process, all of them end at once.

    Raises:
        UserError: another process raised a UserError.
        RuntimeError: another process failed.
    """
    if not is_distributed():
        yield
        return
    # a separate group, because NCCL times out after ten minutes
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    if not isinstance(group, dist.ProcessGroup):
        raise RuntimeError("this process is not one of the group that trains")
    try:
        if not is_first():
            _exchange(None, group)
        try:
            yield
        except BaseException as error:
            _exchange(error, group)
            raise
        if is_first():
            _exchange(None, group)
        _exchange(None, group)
    finally:
        dist.destroy_process_group(group)


def _exchange(error: BaseException | None, group: dist.ProcessGroup) -> None:
    """Waits for all processes, and raises another one's error unless this one has its own."""
    mine = (isinstance(error, UserError), str(error) or type(error).__name__) if error else None
    all_errors: list[tuple[bool, str] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(all_errors, mine, group)
    for rank, theirs in enumerate(all_errors):
        if theirs is not None and error is None:
            of_user, message = theirs
            raise UserError(message) if of_user else RuntimeError(f"process {rank}: {message}")
