"""Why a file cannot be read."""

DAMAGED = "is truncated or damaged"


class Unreadable(Exception):
    """The file cannot be read; the text completes the sentence "checkpoint PATH ..."."""

    def __init__(self, reason: str = DAMAGED) -> None:
        super().__init__(reason)
