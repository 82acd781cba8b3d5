"""Silences what the classic host's libraries say about themselves, so that progress is seen.

What a user can act on is let through, such as a loader with too few workers.
"""

import logging
import warnings

MESSAGES = (
    # deprecations inside the libraries, whose versions the host fixes
    "pkg_resources is deprecated",
    "Deprecated call to `pkg_resources",
    r"In the future `np\.object`",
    r".*`torch\.cuda\.amp\.custom_",
    # the host's loaders always pin memory, and no flag changes that
    ".*'pin_memory' argument is set as true but no accelerator",
    # of --limit_val_batches 0, which asks for just that
    ".*was configured so validation DataLoaders will be skipped",
)


def silence() -> None:
    """Silences them; to be called before the host is imported."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message=message)
    # parts of lightning-bolts that the host uses are "under review": no flag changes that.
    # It warns while it is imported, in front of any filter set before
    with warnings.catch_warnings(record=True):
        from pl_bolts.utils.stability import UnderReviewWarning
    warnings.simplefilter("ignore", UnderReviewWarning)
    # their notes on every trainer; warnings pass
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
