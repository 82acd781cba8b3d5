"""Learning rates, which users and hosts give for one batch size, without rounding from scaling."""

BATCH = 256  # images per step that learning rates refer to, in both hosts and our commands
DIGITS = 12  # significant digits of a rate; further ones are only rounding


def rounded(rate: float) -> float:
    """Removes the rounding of a multiplication and its inverse from a rate."""
    return float(f"{rate:.{DIGITS}g}")
