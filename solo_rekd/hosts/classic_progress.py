"""One progress bar over a whole training, with its ETA; Lightning's own starts anew each epoch."""

import sys
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm


class BatchCount(pl.Callback):
    """Counts the batches of this run; the trainer's count holds those of a resumed run too."""

    batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        """Counts one."""
        self.batches += 1


class TotalProgress(pl.Callback):
    """Shows steps done of all steps, the epoch, and the loss.

    Args:
        title: what is running.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens the bar at the step from which the run goes on."""
        # a log file gets a line every ten seconds, a terminal a live bar
        self.bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            desc=self.title,
            unit="step",
            disable=not trainer.is_global_zero,
            mininterval=0.5 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Moves on by one step."""
        self.bar.set_postfix(
            epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
            loss=f"{outputs['loss']:.3f}",
            refresh=False,
        )
        self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Closes the bar."""
        self.bar.close()
