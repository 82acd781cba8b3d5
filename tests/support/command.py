"""The commands of `solo-rekd` in this process, with their errors."""

from collections.abc import Sequence
from typing import Any

from solo_rekd import cli
from solo_rekd.evaluation.features import Judgement


def command(*words: Any) -> None:
    """Runs `solo-rekd WORDS`."""
    module, args = cli.parse([str(word) for word in words])
    module.main(args)


def judge(words: Sequence[str]) -> Judgement:
    """What `solo-rekd knn WORDS` finds: features and figures."""
    module, args = cli.parse(["knn", *words])
    return module.judge(args)
