"""A run that is refused after its start leaves nothing behind, on both hosts."""

import itertools
import shutil
from pathlib import Path
from typing import Any, TypeGuard

from solo.utils.checkpointer import Checkpointer

from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.files import remove_empty


class RemoveRefused:
    """A callback for both Lightnings, to be mixed with their class.

    The host's checkpointer makes its folder and writes `args.json` before the first step, and
    Lightning's own logger its folder. Where the user's mistake ends the run in its first epoch,
    before any checkpoint, they are removed.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Looks at what is there before the run."""
        folders = [callback.logdir for callback in _checkpointers(trainer)]
        self._before = {
            path
            for folder in folders
            for path in (folder, *folder.parents, *folder.glob("*"))
            if path.exists()
        }
        # Lightning's own logger has written its first file by now
        self._logs = [path for path in map(_log_folder, trainer.loggers) if _holds_one(path)]

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Removes what this run made, if it was refused and has finished no epoch."""
        if not trainer.is_global_zero or trainer.current_epoch or as_mistake(exception) is None:
            return
        if not hasattr(self, "_before"):  # the data failed before this callback was set up
            self.setup(trainer, pl_module, "fit")
        begun = [each for each in _checkpointers(trainer) if hasattr(each, "path")]
        made = [each.path for each in begun if each.path not in self._before]
        if any(any(path.glob("*.ckpt")) for path in made):
            return
        ours = [each for each in trainer.loggers if _log_folder(each) in self._logs]
        for logger in ours:
            logger.finalize("failed")  # before its folder goes
        trainer.loggers = [each for each in trainer.loggers if each not in ours]
        for path in (*made, *self._logs):
            shutil.rmtree(path, ignore_errors=True)
        # of the logs first, for they may lie in a folder of the others; other runs may have files
        for path in self._logs:
            remove_empty([path.parent])
        for path in made:
            remove_empty(itertools.takewhile(lambda each: each not in self._before, path.parents))


def _checkpointers(trainer: Any) -> list[Any]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Checkpointer)]


def _log_folder(logger: Any) -> Path | None:
    folder = getattr(logger, "log_dir", None)  # Weights & Biases has none
    return None if folder is None else Path(folder).absolute()


def _holds_one(path: Path | None) -> TypeGuard[Path]:
    return path is not None and path.is_dir() and len(list(path.iterdir())) <= 1
