"""Reports the progress of a training: a bar, the share done, and a file with a line per epoch.

Each class holds hooks of a callback for both Lightnings; an adapter mixes it with its Lightning's
`Callback`.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from solo_rekd.hosts.shared.logs import write_logs
from solo_rekd.utils.files import read_json_lines, write_json_lines
from solo_rekd.utils.progress import bar


class BatchCountHooks:
    """Counts the batches of this run; the trainer's count includes those before a resume."""

    batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        """Counts a batch."""
        self.batches += 1


class EpochClock:
    """Measures the speed of an epoch, and how long its steps wait for images.

    A wait lasts from the end of a batch, or the start of the epoch, to the start of the next batch.

    Attributes:
        images: seen in the epoch so far, by all processes.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Resets the clock, at the start of an epoch."""
        self._started = self._since = time.perf_counter()
        self._waited, self.images = 0.0, 0

    def batch_starts(self) -> None:
        """Ends a wait."""
        self._waited += time.perf_counter() - self._since

    def batch_ends(self, trainer: Any, pl_module: Any) -> None:
        """Counts the images of all processes, and starts a wait."""
        self.images += pl_module.batch_size * trainer.world_size
        self._since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start of the epoch."""
        return time.perf_counter() - self._started

    @property
    def waiting(self) -> float:
        """Share of that time that was spent waiting, in [0, 1]."""
        return min(1.0, self._waited / max(self.seconds, 1e-9))


class TotalProgressHooks:
    """Shows the steps done of all, with ETA, epoch, loss, images per second, and waiting time.

    Lightning's own bar restarts each epoch.

    Args:
        title: what is running.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None
        self.clock = EpochClock()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Opens the bar at the step from which the run resumes."""
        self.bar = bar(None, self.title, "step", int(trainer.estimated_stepping_batches))
        self.bar.initial = self.bar.n = trainer.global_step

    def on_train_epoch_start(self, *args: Any) -> None:
        """Starts the clock of the epoch."""
        self.clock.begin()

    def on_train_batch_start(self, *args: Any) -> None:
        """Ends the wait for the batch."""
        self.clock.batch_starts()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
        """Advances by one step."""
        if self.bar is None:
            return
        self.clock.batch_ends(trainer, pl_module)
        self.bar.set_postfix(
            {
                "epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                "loss": f"{outputs['loss']:.3f}",
                "images/s": f"{self.clock.images / self.clock.seconds:.0f}",
                "waiting for images": f"{self.clock.waiting:.0%}",
            },
            refresh=False,
        )
        self.bar.update(trainer.global_step - self.bar.n)  # a step may take several batches

    def on_train_end(self, *args: Any) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, *args: Any) -> None:
        """Closes the bar, which would otherwise close after the error is reported."""
        self.on_train_end()


class ShareDoneHooks:
    """Reports the share of the training that is done, after every step.

    Args:
        tell: function that takes the share, in [0, 1].
    """

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.tell = tell

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Asks for the number of steps, once."""
        self.steps = trainer.estimated_stepping_batches

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Reports the share."""
        self.tell(trainer.global_step / self.steps)


class HistoryHooks:
    """Writes a line of JSON per epoch: its cost and its metrics.

    A line holds `epoch`, from 0; `seconds`; `images`, the number seen; `waiting`, the share of the
    time in which the steps waited for images, in [0, 1]; `peak_memory_bytes` and, on a GPU,
    `peak_gpu_bytes`, both of the process so far; and the metrics under their names without
    Lightning's `_epoch`. A resumed run keeps the stored lines and drops those of epochs that it
    repeats. The file is replaced as a whole. A line of epoch -1, which `signal.py` may write before
    the first step, is kept.

    Args:
        path: the file.
        forms: further formats, see `logs.py`.
        tell: function that takes each line after it is written, in the first process; None: none.
    """

    def __init__(
        self,
        path: Path,
        forms: Sequence[str] = (),
        tell: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.path, self.forms, self.tell = path, forms, tell
        self.clock = EpochClock()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Keeps the lines of the epochs that were done before."""
        self.lines = [
            line for line in read_json_lines(self.path) if line["epoch"] < trainer.current_epoch
        ]
        if trainer.is_global_zero and trainer.current_epoch == 0:
            write_logs(self.path, self.forms, self.lines, len(self.lines))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Starts the clock and the count."""
        self.clock.begin()
        # else a metric that this epoch does not log would stand in its line with an old value
        trainer.callback_metrics.clear()

    def on_train_batch_start(self, *args: Any) -> None:
        """Ends the wait for the batch."""
        self.clock.batch_starts()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Counts the images of all processes."""
        self.clock.batch_ends(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Adds the epoch's line."""
        metrics = {
            name.removesuffix("_epoch"): float(value)
            for name, value in trainer.callback_metrics.items()
            if not name.endswith("_step")
        }
        took = {
            "epoch": trainer.current_epoch,
            "seconds": self.clock.seconds,
            "images": self.clock.images,
            "waiting": self.clock.waiting,
        }
        self.lines.append(took | peak_memory() | metrics)
        if trainer.is_global_zero:
            write_json_lines(self.path, self.lines)
            write_logs(self.path, self.forms, self.lines, 1)
            if self.tell is not None:
                self.tell(self.lines[-1])


def peak_memory() -> dict[str, int]:
    """Returns the peak memory of this process so far, in bytes, and that on a GPU.

    A loader's workers are not included, as most of their pages are shared with this process.
    """
    import resource  # of Unix alone, where runs are compared

    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_memory_bytes": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if on_gpu := torch.cuda.max_memory_allocated():
        peak["peak_gpu_bytes"] = on_gpu
    return peak
