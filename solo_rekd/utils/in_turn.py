"""An order among the processes of one distributed training: the first one first."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.heartbeat import watched
from solo_rekd.utils.processes import is_distributed, is_first

# of the processes that wait for the first one, as long as it gives signs of life
PATIENCE = datetime.timedelta(days=30)


@contextmanager
def first_process_first() -> Iterator[None]:
    """Lets the other processes in when the first one is out, and none out before all are.

    Where the block raises in one process, all of them end at once; where one is lost, within a
    minute.

    Raises:
        UserError: another process met a mistake of the user's.
        RuntimeError: another process failed.
    """
    if not is_distributed():
        yield
        return
    with watched(), _in_turn():
        yield


@contextmanager
def _in_turn() -> Iterator[None]:
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
