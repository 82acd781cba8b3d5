"""A student that starts from the weights of a file, in every method of both hosts."""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from solo_rekd.checkpoints.student import STARTED, load_student

_log = logging.getLogger("solo_rekd")

_Host: Any = object  # mypy: Lightning's class, which stands behind this one in every adapter


class StartingWeightsHooks(_Host):
    """Gives the student and its momentum twin the weights of `student_checkpoint`.

    It acts before the strategy wraps the model and before there is an optimizer; a run that resumes
    keeps the weights of its own checkpoint. It stands in front of a Lightning's `Callback`.

    Attributes:
        network: what the host calls a method's backbone; the twin is `momentum_` and that.
    """

    network: ClassVar[str]

    def settings(self, module: Any) -> Mapping[str, Any]:
        """The settings from which a model was built, by the host's names."""
        raise NotImplementedError

    def name(self, module: Any) -> str:
        """The name of a model's backbone."""
        raise NotImplementedError

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Loads the weights, all or none.

        Raises:
            UserError: the file cannot be read, or does not hold every weight of the backbone.
        """
        path = self.settings(pl_module).get(STARTED)
        if path is None or stage != "fit" or trainer.ckpt_path:
            return
        student = getattr(pl_module, self.network)
        source = load_student(path, self.name(pl_module), student, key=STARTED)
        twin = getattr(pl_module, f"momentum_{self.network}", None)
        if twin is not None:
            twin.load_state_dict(student.state_dict())
        _log.info(
            "the student%s from %s: %s, sha256 %s",
            " starts" if twin is None else " and its momentum twin start",
            path,
            source.format,
            source.sha256[:12],
        )
