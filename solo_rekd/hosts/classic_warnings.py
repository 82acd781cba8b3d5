"""Silences what the classic host's libraries say about themselves, so that progress is seen."""

import logging
import warnings

MESSAGES = (
    "pkg_resources is deprecated",
    "Deprecated call to `pkg_resources",
    r"In the future `np\.object`",
    r".*`torch\.cuda\.amp\.custom_",
    ".*'pin_memory' argument is set as true but no accelerator",
    ".*does not have many workers",
    ".*was configured so validation DataLoaders will be skipped",
)


def silence() -> None:
    """Silences them; to be called before the host is imported."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message=message)
    # pl_bolts warns while it is imported, in front of any filter set before
    with warnings.catch_warnings(record=True):
        from pl_bolts.utils.stability import UnderReviewWarning
    warnings.simplefilter("ignore", UnderReviewWarning)
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
