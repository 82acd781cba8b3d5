"""The processes of one distributed training, and an order among them."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor

from solo_rekd.utils.errors import UserError

PATIENCE = datetime.timedelta(days=1)  # of the processes that wait for the first one


def is_distributed() -> bool:
    """Whether this process is one of a group that `torch.distributed` knows."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether this is the first process of its group, or the only one."""
    return not is_distributed() or dist.get_rank() == 0


def rank() -> int:
    """The number of this process among those that train together, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together, 1 where this one trains alone."""
    return dist.get_world_size() if is_distributed() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's values, in place: the same bits for all of them."""
    if is_distributed():
        dist.all_reduce(values)
    return values


@contextmanager
def first_process_first() -> Iterator[None]:
    """Lets the other processes in when the first one is out, and none out before all are.

    Where the block raises in one process, all of them end at once.

    Raises:
        UserError: another process met a mistake of the user's.
        RuntimeError: another process failed.
    """
    if not is_distributed():
        yield
        return
    # a group of its own: NCCL gives up on the others after ten minutes
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
    """Waits for all processes, and raises what another one met, unless this one has an error."""
    mine = (isinstance(error, UserError), str(error) or type(error).__name__) if error else None
    all_errors: list[tuple[bool, str] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(all_errors, mine, group)
    for rank, theirs in enumerate(all_errors):
        if theirs is not None and error is None:
            of_user, message = theirs
            raise UserError(message) if of_user else RuntimeError(f"process {rank}: {message}")
