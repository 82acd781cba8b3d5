"""Whether this process is one of our own commands, to which every run in it belongs.

In a script of a host a run is ours where its method or backbone is; in our commands each run is.
"""

_claimed = False


def claim() -> None:
    """Makes every run of this process ours, those of the host's own methods and backbones too."""
    global _claimed
    _claimed = True


def is_claimed() -> bool:
    """Whether `claim` was called."""
    return _claimed
