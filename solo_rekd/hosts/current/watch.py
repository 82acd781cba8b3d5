"""The job of ours that is at work in this process, and how its run is followed.

The host's own script trains; what a job wants to know of it comes in through the callbacks that
Lightning takes from the plug-in's entry point. Without a job there are none. Of several processes
Lightning starts the others with the script itself: they learn of the job by the environment.
"""

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from solo.data import pretrain_dataloader
from solo.utils.checkpointer import Checkpointer
from torch import Generator
from torch.utils.data import DataLoader, RandomSampler

from solo_rekd.hosts.jobs import Progress, Signal
from solo_rekd.hosts.shared import ownership
from solo_rekd.hosts.shared.method import Distilled, refuse_divergence, refuse_empty_epoch
from solo_rekd.hosts.shared.order import seed_of_epoch
from solo_rekd.hosts.shared.progress import (
    BatchCountHooks,
    HistoryHooks,
    ShareDoneHooks,
    TotalProgressHooks,
)
from solo_rekd.hosts.shared.signal import SignalHooks
from solo_rekd.hosts.shared.training_images import colours_of
from solo_rekd.teachers.sight import Sight

VARIABLE = "SOLO_REKD_JOB"  # for the other processes of the training


class BatchCount(BatchCountHooks, pl.Callback):
    """See `BatchCountHooks`."""


class TotalProgress(TotalProgressHooks, pl.Callback):
    """See `TotalProgressHooks`."""


class ShareDone(ShareDoneHooks, pl.Callback):
    """See `ShareDoneHooks`."""


class History(HistoryHooks, pl.Callback):
    """See `HistoryHooks`."""


class EpochSignal(SignalHooks, pl.Callback):
    """See `SignalHooks`."""

    def sight(self, module: Any) -> Sight:
        """The size and the colours of the first view."""
        cfg = module.cfg
        view = cfg.augmentations[0]
        colours = colours_of(pretrain_dataloader.build_transform_pipeline(cfg.data.dataset, view))
        return Sight(view.crop_size, *colours)


class Watch(pl.Callback):
    """What becomes of one job.

    Args:
        seed: of the job.
        progress: how it reports.
        pretraining: whether it is one, whose images are put in the seed's order and which is
            refused where it diverges.
        joined: whether this process was started to train with the one that has the job.

    Attributes:
        trainer: Lightning's, from its set-up on.
        seconds: of the training.
        metrics: the last value of every logged metric.
        interrupted: whether the user interrupted it.
        error: what ended the script, as Hydra caught it.
    """

    def __init__(
        self, seed: int, progress: Progress, pretraining: bool, joined: bool = False
    ) -> None:
        self.seed, self.progress, self.pretraining = seed, progress, pretraining
        self.joined = joined
        self.counter = BatchCount()
        self.trainer: Any = None
        self.seconds = 0.0
        self.metrics: Mapping[str, float] = {}
        self.interrupted = False
        self.error: Exception | None = None

    def callbacks(self) -> list[pl.Callback]:
        """All callbacks of the job."""
        progress = self.progress
        found: list[pl.Callback] = [self, self.counter]
        if progress.share:
            found.append(ShareDone(progress.share))
        if progress.signal and self.pretraining:
            found.append(EpochSignal(progress.signal, progress.history))
        if progress.history:
            found.append(History(progress.history, progress.logs, progress.epoch))
        if progress.title:
            found.append(TotalProgress(progress.title))
        return found

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Starts the clock, and puts the host's checkpoints behind the history.

        No epoch is saved that the history lacks.
        """
        self.trainer = trainer
        trainer.callbacks = sorted(trainer.callbacks, key=_saves)  # type: ignore[attr-defined]
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Ends a diverged training with its epoch; our own methods look for themselves."""
        if self.pretraining and trainer.is_last_batch and not isinstance(pl_module, Distilled):
            refuse_divergence(pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses a training of no batch."""
        refuse_empty_epoch(pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keeps what the training came to."""
        self.seconds = time.perf_counter() - self._started
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Notes an interruption, after which Lightning returns or exits."""
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    @property
    def variable(self) -> str:
        """The job, for the other processes of its training."""
        history, signal = self.progress.history, self.progress.signal
        told = {
            "seed": self.seed,
            "pretraining": self.pretraining,
            "history": str(history) if history else None,
            "signal": dataclasses.asdict(signal) if signal else None,
        }
        return json.dumps(told)

    @property
    def order_seed(self) -> int:
        """The seed of the order in which the next epoch's images come."""
        # of a resumed run `current_epoch` is not right yet where its first order is drawn
        done = self.trainer.fit_loop.epoch_progress.current.processed
        return seed_of_epoch(self.seed, done, self.trainer.global_rank)


class OrderedLoader(DataLoader):
    """A loader of the host's whose order, and whose workers' draws, are the job's seed's alone."""

    def __iter__(self) -> Any:
        """Begins an epoch."""
        if _current is not None and _current.trainer is not None:
            self.generator = Generator().manual_seed(_current.order_seed)
            if isinstance(self.sampler, RandomSampler):
                self.sampler.generator = self.generator
        return super().__iter__()


def _saves(callback: pl.Callback) -> bool:
    return isinstance(callback, Checkpointer)


_current: Watch | None = None


def current() -> Watch | None:
    """The job at work in this process."""
    return _current


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Follows the training that is done within."""
    global _current
    module: Any = pretrain_dataloader
    _begin(watch)
    os.environ[VARIABLE] = watch.variable
    try:
        yield
    finally:
        _current, module.DataLoader = None, DataLoader
        del os.environ[VARIABLE]


def join() -> None:
    """Follows the training that this process was started to take part in, if there is one."""
    if _current is not None or VARIABLE not in os.environ:
        return
    told = json.loads(os.environ[VARIABLE])
    history = Path(told["history"]) if told["history"] else None
    signal = Signal(**told["signal"]) if told["signal"] else None
    ownership.claim()
    # every process gathers the figures of an epoch, the first writes them
    progress = Progress(history=history, signal=signal)
    _begin(Watch(told["seed"], progress, told["pretraining"], joined=True))


def _begin(watch: Watch) -> None:
    global _current
    module: Any = pretrain_dataloader
    _current = watch
    if watch.pretraining:
        module.DataLoader = OrderedLoader


def callbacks() -> list[pl.Callback]:
    """Those of the job at work; none without one."""
    return [] if _current is None else _current.callbacks()
