"""The classic host's checkpoints, whole or not there at all."""

from pathlib import Path

import pytorch_lightning as pl
from solo.utils.checkpointer import Checkpointer

from solo_rekd.files import replacing


class WholeCheckpointer(Checkpointer):
    """The host's own, but what a kill or a full disk cuts short takes no checkpoint's name."""

    def save(self, trainer: pl.Trainer) -> None:
        """Saves the state of the trainer as the host does."""
        write = trainer.save_checkpoint

        def write_whole(path: Path) -> None:
            with replacing(path) as unfinished:
                write(unfinished)

        trainer.save_checkpoint = write_whole  # type: ignore[assignment, method-assign]
        try:
            super().save(trainer)
        finally:
            del trainer.save_checkpoint
