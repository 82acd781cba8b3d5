"""The classic host as a `Host`: a job becomes flags, and the commands of this host do it."""

import shlex
from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from solo.methods import METHODS
from solo.methods.base import BaseMethod

from solo_rekd.hosts.classic import commands
from solo_rekd.hosts.classic.flags import linear_flags, pretraining_flags
from solo_rekd.hosts.classic.plugin import activate
from solo_rekd.hosts.classic.run import RULE
from solo_rekd.hosts.jobs import (
    Accuracy,
    Host,
    Job,
    LinearEvaluation,
    Pretrained,
    Pretraining,
    Progress,
)
from solo_rekd.hosts.shared.ownership import claim
from solo_rekd.hosts.shared.resume import decisive
from solo_rekd.utils.errors import OneLineParser
from solo_rekd.utils.versions import versions


class ClassicHost:
    """See `Host`.

    Args:
        root: the folder that holds the package `solo`.
    """

    name = "classic"

    def __init__(self, root: Path) -> None:
        self.root = root

    def methods(self) -> Mapping[str, Collection[str]]:
        """See `Host`."""
        shared = _flags_of(BaseMethod) | {"student_checkpoint", "memory_format", "compile"}
        trained = sorted(set(METHODS) - {"base", "linear"})
        return {name: sorted(_flags_of(METHODS[name]) - shared) for name in trained}

    def check(self, job: Job) -> Mapping[str, Any]:
        """See `Host`."""
        return decisive(vars(self.parse(job)), RULE)

    def parse(self, job: Job) -> Namespace:
        """The arguments that this host reads from a job.

        Raises:
            UserError: it does not take them.
        """
        if isinstance(job, Pretraining):
            return commands.parse_pretrain(pretraining_flags(job))
        return commands.parse_linear(linear_flags(job))

    def pretrain(
        self, job: Pretraining, folder: Path | None, resume: Path | None, progress: Progress
    ) -> Pretrained:
        """See `Host`."""
        argv = [*pretraining_flags(job), *_kept_in(folder), *_quiet(progress)]
        if resume is not None:
            argv += ["--resume_from_checkpoint", str(resume)]
        told = progress.history, progress.share, progress.title, progress.signal, progress.logs
        result = commands.pretrain(argv, *told, progress.epoch)
        checkpoint = result["checkpoint"]
        return Pretrained(
            None if checkpoint is None else Path(checkpoint),
            result["seconds"],
            result["images_per_second"],
            result["metrics"],
        )

    def linear(self, job: LinearEvaluation, folder: Path | None, progress: Progress) -> Accuracy:
        """See `Host`."""
        argv = [*linear_flags(job), *_kept_in(folder), *_quiet(progress)]
        return Accuracy(**commands.linear(argv, progress.share, progress.title))

    def command(self, job: Job) -> str:
        """See `Host`."""
        if isinstance(job, Pretraining):
            return shlex.join(
                ["solo-rekd", "pretrain", "--host", self.name, *pretraining_flags(job)]
            )
        return shlex.join(["solo-rekd", "linear", "--host", self.name, *linear_flags(job)])

    def versions(self) -> Mapping[str, str]:
        """See `Host`."""
        return versions(("solo-learn", "pytorch-lightning"))


def connect(root: Path) -> Host:
    """Activates the plug-in in the host whose package lies in `root`, and returns its adapter."""
    claim()
    activate()
    return ClassicHost(root)


def _flags_of(method: type[BaseMethod]) -> set[str]:
    parser = method.add_model_specific_args(OneLineParser(add_help=False))
    return set(vars(parser.parse_args(["--optimizer", "sgd"])))  # which the host requires


def _kept_in(folder: Path | None) -> list[str]:
    return [] if folder is None else ["--save_checkpoint", "--checkpoint_dir", str(folder)]


def _quiet(progress: Progress) -> list[str]:
    return ["--enable_progress_bar", "False"] if progress.title is None else []
