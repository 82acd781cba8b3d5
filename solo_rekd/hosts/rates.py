"""Learning rates, which users and hosts give for one batch, and what is lost by scaling them."""

BATCH = 256  # images, of the step for which both hosts, and our commands, take a learning rate
DIGITS = 12  # of a rate, beyond which lies nothing but rounding


def rounded(rate: float) -> float:
    """A rate without what a multiplication and its inverse leave."""
    return float(f"{rate:.{DIGITS}g}")
