"""The commands of `solo-rekd` in this process, with their errors."""

from typing import Any

from solo_rekd import cli


def command(*words: Any) -> None:
    """Runs `solo-rekd WORDS`."""
    module, args = cli.parse([str(word) for word in words])
    module.main(args)
