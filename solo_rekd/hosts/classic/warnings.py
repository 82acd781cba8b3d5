"""What the classic host and its libraries are not to say in our commands, see `shared/quiet.py`."""

import warnings

from solo_rekd.hosts.shared import quiet

MESSAGES = (
    # deprecations inside the libraries, whose versions the host fixes
    "pkg_resources is deprecated",
    "Deprecated call to `pkg_resources",
    r"In the future `np\.object`",
    # of --limit_val_batches 0, which asks for just that
    ".*was configured so validation DataLoaders will be skipped",
)


def silence() -> None:
    """Silences them; to be called before the host is imported."""
    quiet.silence(MESSAGES, ("pytorch_lightning", "lightning_fabric"))
    # parts of lightning-bolts that the host uses are "under review": no flag changes that.
    # It warns while it is imported, in front of any filter set before
    with warnings.catch_warnings(record=True):
        from pl_bolts.utils.stability import UnderReviewWarning
    warnings.simplefilter("ignore", UnderReviewWarning)
