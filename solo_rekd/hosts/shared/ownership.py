"""Records which runs of this process are ours.

In a host's script, a run is ours if its method or backbone is; in a process of our own commands,
every run is. This module imports nothing else.
"""

_claimed = _noted = False


def claim() -> None:
    """Makes every run of this process ours, including those with the host's own methods."""
    global _claimed
    _claimed = True


def is_claimed() -> bool:
    """Whether `claim` was called."""
    return _claimed


def note(ours: bool) -> None:
    """Records whether the run that begins now is ours."""
    global _noted
    _noted = ours


def has_our_run() -> bool:
    """Whether a run of ours is active in this process."""
    return _claimed or _noted
