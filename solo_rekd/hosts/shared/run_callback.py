"""The callback of every training of ours, the same in both hosts."""

import functools
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.checkpoints.run_record import KEY, make_record, record_of, settings_of
from solo_rekd.hosts.shared.resume import Rule, refuse_another_run
from solo_rekd.utils.files import replacing

TAU = "tau"  # of our record in a checkpoint: the momentum of the step that comes next

_Host: Any = object  # mypy: Lightning's class, which stands behind this one in every adapter


class WholeCheckpoints(_Host):
    """Writes checkpoints completely or not at all, and reads them without running their code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes a temporary file and renames it, so that no partial file can remain."""
        for state in checkpoint.get("lr_schedulers", ()):
            # a method with a fixed rate in one group (SimSiam) keeps a function there, which could
            # not be read back as data; the resumed run makes it anew
            for name in [name for name, value in state.items() if callable(value)]:
                del state[name]
        with replacing(Path(path)) as unfinished:
            super().save_checkpoint(checkpoint, unfinished, storage_options)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads a checkpoint to resume.

        Raises:
            UserError: the file is missing, is no checkpoint, is truncated or holds pickled code.
        """
        return read_complete(path)


class RunCallback(_Host):
    """Writes complete checkpoints of a run, including the last epoch's, with a record of the run.

    It acts on our runs, which `run_settings` identifies, and is mixed with Lightning's `Callback`.
    """

    checkpointer_class: ClassVar[type]
    checkpoints_class: ClassVar[type]
    rule: ClassVar[Rule]

    def run_settings(self, trainer: Any, module: Any) -> Mapping[str, Any] | None:
        """Returns all settings of the run, by the host's names; None if it is not ours."""
        raise NotImplementedError

    def checkpointer(self, trainer: Any) -> Any:
        """Returns the host's callback that saves checkpoints; None if there is none."""
        found = (each for each in trainer.callbacks if isinstance(each, self.checkpointer_class))
        return next(found, None)

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Makes the trainer write complete checkpoints, in a folder that no other run uses."""
        if self.run_settings(trainer, module) is None:
            return
        trainer.strategy.checkpoint_io = self.checkpoints_class()
        if checkpointer := self.checkpointer(trainer):
            begin = checkpointer.initial_setup
            checkpointer.initial_setup = functools.partial(begin_apart, checkpointer, begin)

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Writes the record of the run into the checkpoint."""
        settings = self.run_settings(trainer, module)
        if settings is not None:
            checkpoint[KEY] = record_of(checkpoint) | make_record(settings)
            if updater := getattr(module, "momentum_updater", None):
                checkpoint[KEY][TAU] = float(updater.cur_tau)

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume a run that had other settings: see `refuse_another_run`.

        A momentum network gets the momentum of its next step, which the host would begin anew.
        """
        settings = self.run_settings(trainer, module)
        if settings is None:
            return
        earlier = settings_of(checkpoint, Path(trainer.ckpt_path))
        refuse_another_run(earlier, settings, self.rule)
        tau = record_of(checkpoint).get(TAU)  # an older checkpoint has none
        if isinstance(tau, float) and hasattr(module, "momentum_updater"):
            module.momentum_updater.cur_tau = tau

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Saves the last epoch's checkpoint, if the saving interval misses it."""
        checkpointer = self.checkpointer(trainer)
        if (
            checkpointer is not None
            and self.run_settings(trainer, module) is not None
            and is_last_epoch(trainer)
            and trainer.current_epoch % checkpointer.frequency != 0
        ):
            checkpointer.save(trainer)


def begin_apart(checkpointer: Any, begin: Callable[[Any], None], trainer: Any) -> None:
    """Gives a run its own folder, where the host would use another run's.

    The host numbers folders by the logs in the current folder: a run that was started elsewhere, or
    at the same moment, gets the same number. A resumed run keeps its folder.

    Args:
        checkpointer: the host's callback, whose `path` is settled here.
        begin: what the host does then.
        trainer: Lightning's.
    """
    begin(trainer)
    resumed = trainer.ckpt_path and Path(trainer.ckpt_path).parent
    if not trainer.is_global_zero or resumed == checkpointer.path:
        return
    first = checkpointer.path
    while True:
        try:
            # the host writes it next; who makes it first has the folder
            (checkpointer.path / "args.json").open("x").close()
            return
        except FileExistsError:
            checkpointer.path = first.with_name(f"{first.name}-{secrets.token_hex(4)}")
            checkpointer.path.mkdir()


def is_last_epoch(trainer: Any) -> bool:
    """Whether the epoch that ends now is the run's last, by its epochs, its steps or a stop."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    return bool(
        trainer.should_stop
        or (epochs not in (None, -1) and trainer.current_epoch + 1 >= epochs)
        or (steps not in (None, -1) and trainer.global_step >= steps)
    )
