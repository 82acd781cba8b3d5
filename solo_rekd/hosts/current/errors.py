"""A user's mistake under Hydra: one line and exit code 2, as everywhere else."""

import contextlib
import io
import sys
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from solo_rekd.hosts.current.checks import is_our_run, refuse_incomplete
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.hosts.shared.ownership import is_claimed
from solo_rekd.utils.errors import UserError, report

HYDRAS_OWN = ("hydra", "config")  # group and name of Hydra's settings in its store


class ReportMistakes(Callback):
    """A callback of Hydra, for it prints a traceback for whatever a job raises."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Reports a user's mistake and ends the process.

        In a multirun the jobs that follow still run, and the process ends with exit code 2 after
        them.

        Args:
            config: of the job, Hydra's settings included.
            job_return: what became of the job.
            kwargs: of later versions of Hydra.
        """
        if is_claimed():
            return  # our command reports it
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # "Error executing job ..."
                _ = job_return.return_value
        except Exception as error:
            mistake = read_error(error, job_return.cfg)
            if mistake is None:
                return
            code = report(mistake)
            if config.hydra.mode != RunMode.MULTIRUN:
                sys.exit(code)
            job_return.return_value = SystemExit(code)


def read_error(error: Exception, cfg: DictConfig | None) -> UserError | None:
    """Reads what ended a job as a mistake of the user; of a run that is not ours, only our own.

    Args:
        error: what ended it.
        cfg: its configuration.
    """
    if isinstance(error, UserError) or cfg is None or not is_our_run(cfg):
        return error if isinstance(error, UserError) else None
    if isinstance(error, AttributeError):  # the host reads some groups before we can look at them
        try:
            refuse_incomplete(cfg)
        except UserError as mistake:
            mistake.__cause__ = error
            return mistake
    return as_mistake(error)


def apply() -> None:
    """Adds the callback to Hydra's settings, as any application may; once."""
    group, name = HYDRAS_OWN
    store = ConfigStore.instance()
    settings = store.load(f"{group}/{name}.yaml")
    with open_dict(settings.node):
        settings.node.callbacks.solo_rekd = {"_target_": f"{__name__}.{ReportMistakes.__name__}"}
    store.store(
        group=group,
        name=name,
        node=settings.node,
        package=settings.package,
        provider=settings.provider,
    )
