"""Whose the runs of this process are.

In a script of a host a run is ours where its method or backbone is; in a process of our own
commands each run is. Nothing but this file need be imported to ask.
"""

_claimed = _noted = False


def claim() -> None:
    """Makes every run of this process ours, those of the host's own methods and backbones too."""
    global _claimed
    _claimed = True


def is_claimed() -> bool:
    """Whether `claim` was called."""
    return _claimed


def note(ours: bool) -> None:
    """Notes whether the run that begins now is ours."""
    global _noted
    _noted = ours


def has_our_run() -> bool:
    """Whether a run of ours is under way in this process."""
    return _claimed or _noted
