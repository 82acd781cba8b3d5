"""Signs of life among the processes of one training: a lost one ends them all, and none waits on.

A collective waits for half an hour for a process that has stopped, and a process at work alone,
such as the first one that embeds the images for all, does not see at all that another is gone. So
each process has a thread that says every second that it lives, however long its work takes.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn

import torch.distributed as dist

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.patience import BEAT, PATIENCE
from solo_rekd.utils.processes import group_of_hosts, is_first, rank, world_size

SOON = 50  # looks in a beat, of the first process at the end of a training
GRACE = 5.0  # seconds in which a process may end by itself, when it has heard of another's error
END = "end"  # the key of what ends the training
LEFT = "left"  # what a process says that has done its work
LOOPBACK = "127.0.0.1"
USERS_MISTAKE, FAILURE = 2, 1  # exit codes


class Heart:
    """The signs of life of this process, and the watch over the others.

    Args:
        store: that all processes see.
        number: of this process, from 0.
        processes: how many there are.
        kill: ends a lost process, by its number, where it is one of this machine.

    The first process holds the store, so that it leaves last.
    """

    def __init__(
        self, store: dist.Store, number: int, processes: int, kill: Callable[[int], None]
    ) -> None:
        self.store, self.number, self.kill = store, number, kill
        self.keys = [str(each) for each in range(processes)]
        # patience is counted in looks of this process, which may have been stopped with the others
        self._seen = {each: ("", 0.0) for each in range(processes)}
        self._wake, self._over, self._beats = threading.Event(), threading.Event(), 0
        self._leaving = self._failed = False
        self._told: tuple[int, str] | None = None  # by another process: exit code and message
        store.set(str(number), "0")
        self._threads = [
            threading.Thread(target=each, name="solo-rekd-heart", daemon=True)
            for each in (self._beat, self._watch)
        ]

    def start(self) -> None:
        """Begins; every process has its key in the store by then."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Leaves; the first process waits until all have left, or one of them is lost."""
        self._leaving = True
        self._wake.set()
        for thread in self._threads:
            thread.join()

    def fail(self, error: BaseException) -> None:
        """Tells the others what this process has met, on which it is going to end."""
        own = isinstance(error, UserError)
        self._failed = True
        text = str(error) or type(error).__name__
        with suppress(RuntimeError):  # the store's process has ended before
            self._tell(USERS_MISTAKE if own else FAILURE, f"process {self.number}: {text}")
        self._wake.set()
        if self.number == 0:
            time.sleep(2 * BEAT)  # the store goes with this process

    def end_as_told(self) -> None:
        """Ends this process with the error that another one has told of, if one has.

        What this one met then is merely that the other is gone.
        """
        if self._told is not None:
            self._end(*self._told)

    def _beat(self) -> None:
        try:
            while not (self._failed or self._is_over()):
                self._wake.wait(BEAT)
        except RuntimeError:  # of the store
            if not (self._failed or self._leaving):
                self._lost(0)
        finally:
            self._over.set()

    def _watch(self) -> None:
        """Ends this process where the store does not answer, for which no request has a limit."""
        beats = missed = 0
        while not self._over.wait(BEAT):
            missed = missed + 1 if beats == self._beats else 0
            beats = self._beats
            if missed * BEAT > PATIENCE:
                self._lost(0)

    def _is_over(self) -> bool:
        """Gives a sign of life, and looks at the others'; ends this process where one is lost."""
        self.store.set(str(self.number), LEFT if self._leaving else str(self._beats))
        if self._leaving and self.number != 0:
            return True
        if self.store.check([END]):
            self._told = tuple(json.loads(self.store.get(END)))
            self._wake.wait(GRACE)
            if not (self._failed or self._leaving):
                self._end(*self._told)
            return True
        states = [state.decode() for state in self.store.multi_get(self.keys)]
        self._beats += 1
        left = self._leaving and all(state == LEFT for state in states)
        if self._leaving and not left:  # the first process, whose event no longer makes it wait
            time.sleep(BEAT / SOON)
        self._count(states, BEAT / SOON if self._leaving else BEAT)
        return left

    def _count(self, states: list[str], passed: float) -> None:
        for number, state in enumerate(states):
            before, missed = self._seen[number]
            lives = state == LEFT or state != before or number == self.number
            self._seen[number] = state, 0.0 if lives else missed + passed
            if self._seen[number][1] > PATIENCE:
                self._lost(number)

    def _lost(self, number: int) -> NoReturn:
        message = (
            f"process {number} of the training has been lost: it has ended, or has given no sign "
            f"of life for {PATIENCE:.0f} s"
        )
        self.kill(number)
        if number != 0:  # which holds the store
            with suppress(RuntimeError):
                self._tell(FAILURE, message)
            if self.number == 0:
                time.sleep(2 * BEAT)
        self._end(FAILURE, message)

    def _tell(self, code: int, message: str) -> None:
        # the first one's counts
        self.store.compare_set(END, "", json.dumps([code, message]))

    def _end(self, code: int, message: str) -> NoReturn:
        # the main thread may wait in a collective, where nothing can be raised
        print(f"solo-rekd: error: {message}", file=sys.stderr, flush=True)
        os._exit(code)


_current: Heart | None = None


def begin() -> Heart | None:
    """Begins to watch the processes of this training, which all come here at the same place.

    Returns:
        None where there is one process, or where they are watched already, or where their network
        lets none reach the first one.
    """
    global _current
    if _current is not None or world_size() == 1:
        return None
    _current = _make()
    if _current is not None:
        _current.start()
    return _current


def end(heart: Heart | None, error: BaseException | None = None) -> None:
    """Ends a watch that `begin` began, with the error that ends this process, if there is one."""
    global _current
    if heart is None or heart is not _current:
        return
    _current = None
    if error is None:
        heart.stop()
    else:
        heart.fail(error)


@contextmanager
def watched() -> Iterator[None]:
    """Watches the processes during a block in which some of them wait for others."""
    heart = begin()
    try:
        yield
    except BaseException as error:
        end(heart, error)
        raise
    end(heart)


def _make() -> Heart | None:
    group, number, processes = group_of_hosts(), rank(), world_size()
    places: list[Any] = [None] * processes
    dist.all_gather_object(places, (socket.gethostname(), os.getpid()), group)
    machines = {machine for machine, _ in places}
    address = LOOPBACK
    if len(machines) > 1:
        address = os.environ.get("MASTER_ADDR") or places[0][0]
    store, wait = None, timedelta(seconds=PATIENCE)
    port: list[Any] = [None]
    if is_first():
        store = dist.TCPStore(address, 0, None, True, wait, wait_for_workers=False)
        port = [store.port]
    dist.broadcast_object_list(port, 0, group)
    with suppress(RuntimeError):
        if store is None:
            store = dist.TCPStore(address, port[0], None, False, wait, wait_for_workers=False)
    heart = None if store is None else Heart(store, number, processes, _killer(places))
    reached: list[Any] = [None] * processes
    dist.all_gather_object(reached, heart is not None, group)
    return heart if all(reached) else None


def _killer(places: list[tuple[str, int]]) -> Callable[[int], None]:
    """What kills a process of this machine, and surely no other that got its number later."""
    handles: dict[int, int] = {}
    for number, (machine, pid) in enumerate(places):
        if hasattr(os, "pidfd_open") and machine == socket.gethostname() and pid != os.getpid():
            with suppress(OSError):
                handles[number] = os.pidfd_open(pid)

    def kill(number: int) -> None:
        if number in handles:
            with suppress(OSError):
                signal.pidfd_send_signal(handles[number], signal.SIGKILL)

    return kill
