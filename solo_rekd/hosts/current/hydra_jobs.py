"""What happens at the start and the end of a job of Hydra, by the callbacks that Hydra has.

A job that is not ours finds the host without the plug-in. In a job of ours the user's mistake is
one line and exit code 2, as everywhere else.
"""

import contextlib
import io
import sys
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from solo_rekd.hosts.current import watch
from solo_rekd.hosts.current.checks import refuse_incomplete
from solo_rekd.hosts.current.evaluation import concerns_us
from solo_rekd.hosts.shared.changes import ENTRIES, begin
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.errors import UserError, report

HYDRAS_OWN = ("hydra", "config")  # group and name of Hydra's settings in its store


class OurJobs(Callback):
    """Tells the jobs that are ours from the others, of which a multirun may have both.

    Attributes:
        ours: whether the job that runs is.
    """

    def __init__(self) -> None:
        self.ours = False

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the plug-in known to the host for a job of ours, and unknown for any other.

        Args:
            config: of the job, Hydra's settings included.
            kwargs: of Hydra's later versions.
        """
        self.ours = concerns_us(config)
        begin(self.ours)
        if self.ours:
            ENTRIES.redo()
        else:
            ENTRIES.undo()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Reports a user's mistake and ends the process; Hydra would print a traceback.

        In a multirun the jobs that follow still run, and the process ends with exit code 2 after
        them.

        Args:
            config: of the job, Hydra's settings included.
            job_return: what became of the job.
            kwargs: of Hydra's later versions.
        """
        if (job := watch.current()) is not None and not job.joined:
            job.error = take_error(job_return)  # our command reports it
            return
        if not self.ours:
            return
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


def take_error(job_return: JobReturn) -> Exception | None:
    """Takes out of Hydra what ended a job, of which it says nothing then."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # "Error executing job ..."
            _ = job_return.return_value
    except Exception as error:
        job_return.return_value, job_return.status = None, JobStatus.COMPLETED
        return error
    return None


def read_error(error: Exception, cfg: DictConfig | None) -> UserError | None:
    """Reads what ended a job of ours as a mistake of the user; None for any other error.

    Args:
        error: what ended it.
        cfg: its configuration.
    """
    # the host reads some groups before we can look at them
    if isinstance(error, AttributeError) and cfg is not None:
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
        settings.node.callbacks.solo_rekd = {"_target_": f"{__name__}.{OurJobs.__name__}"}
    store.store(
        group=group,
        name=name,
        node=settings.node,
        package=settings.package,
        provider=settings.provider,
    )
