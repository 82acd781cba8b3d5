"""Reads flags as a job of the classic host will, without starting it."""

from solo.args import setup

from solo_rekd.errors import UserError
from solo_rekd.hosts import classic_commands


def check_pretrain(argv: list[str]) -> None:
    """Refuses flags that the host's parser of pretraining does not take.

    Args:
        argv: the flags of the host's script.

    Raises:
        UserError: a flag is unknown, or its value is not allowed.
    """
    try:
        classic_commands.parse(argv, setup.parse_args_pretrain)
    except UserError as error:
        raise UserError(f"{classic_commands.flag(argv, 'method')}: {error}") from None
