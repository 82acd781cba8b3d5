"""What the accuracy of a linear evaluation is of: which epoch, and how many of the images.

Both hosts log one accuracy per validation, and the last one need be neither of the last epoch nor
of all images: `check_val_every_n_epoch`, `val_check_interval`, `limit_val_batches`, `fast_dev_run`,
`max_steps` and a callback that stops early see to that.
"""

from typing import Any

from solo_rekd.utils.errors import UserError, refuse


class LastAccuracyHooks:
    """Hooks of a Lightning callback that keeps the last validation of a linear evaluation.

    An adapter puts this class in front of its Lightning's `Callback`.

    Attributes:
        accuracy: top-1 and top-5 in percent; None before the first validation.
        side: of the images judged, in px.
    """

    def __init__(self) -> None:
        self.accuracy: tuple[float, float] | None = None
        self.side = 0
        self._images = self._steps = self._epoch = self._trained = 0

    def acts_on(self, pl_module: Any) -> bool:
        """Whether a module is judged by this callback."""
        return True

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuses a linear evaluation that would judge nothing.

        Raises:
            UserError: no validation image is left.
        """
        if self.acts_on(pl_module) and not trainer.enable_validation:
            limit = "a number above 0 in linear evaluation, which needs validation images"
            raise refuse("limit_val_batches", trainer.limit_val_batches, limit)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins to count the images."""
        self._images = 0

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *indexes: int
    ) -> None:
        """Counts the images."""
        if self.acts_on(pl_module):
            self._images += len(batch[0])
            self.side = int(batch[0].shape[-1])

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Keeps the accuracy, and when it was taken."""
        if not trainer.sanity_checking and self.acts_on(pl_module):
            metrics = trainer.callback_metrics
            self.accuracy = float(metrics["val_acc1"]), float(metrics["val_acc5"])
            self._steps, self._epoch = trainer.global_step, trainer.current_epoch + 1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Counts the epochs."""
        self._trained = trainer.current_epoch + 1

    def top(self) -> tuple[float, float]:
        """The last accuracy, top-1 and top-5 in percent.

        Raises:
            UserError: there was no validation.
        """
        if self.accuracy is None:
            raise UserError(
                "no epoch was evaluated: the run to resume had finished, or it ends before its "
                "first validation (max_epochs, check_val_every_n_epoch)"
            )
        return self.accuracy

    def epochs(self, planned: int) -> str:
        """Says how many epochs were trained, of those that were planned."""
        return (
            f"{planned} epochs"
            if self._trained == planned
            else f"{self._trained} of {planned} epochs"
        )

    def protocol(
        self, trainer: Any, planned: int, optimizer: str, lr: float, batch_size: int
    ) -> str:
        """Says how the accuracy of a linear classifier was measured.

        Args:
            trainer: Lightning's.
            planned: epochs.
            optimizer: its name.
            lr: learning rate, absolute.
            batch_size: images per step and process.
        """
        return (
            f"linear classifier on frozen features, {self.epochs(planned)}, "
            f"{optimizer} lr {lr:g}, batch {batch_size}, random resized crops of "
            f"{self.side} px, {self.when(trainer)}"
        )

    def when(self, trainer: Any) -> str:
        """Says of which epoch the accuracy is, and of which images where not of all, once each."""
        said = ["last epoch"]
        if self._steps != trainer.global_step:
            said = [f"of epoch {self._epoch}, step {self._steps} of {trainer.global_step}"]
        loaders = trainer.val_dataloaders
        loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
        there, judged = len(loader.dataset), self._images * trainer.world_size
        if judged < there:
            said.append(f"on {judged} of {there} validation images")
        elif judged > there:  # which makes the processes' shares equal
            said.append(f"on {there} validation images, {judged - there} of them twice")
        limit = trainer.limit_train_batches
        if not (isinstance(limit, float) and limit == 1):
            said.append(f"limit_train_batches {limit}")
        return ", ".join(said)
