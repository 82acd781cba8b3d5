"""The callbacks of `hosts/shared/progress.py` for the classic host's Lightning."""

import pytorch_lightning as pl

from solo_rekd.hosts.shared.progress import (
    BatchCountHooks,
    HistoryHooks,
    ShareDoneHooks,
    TotalProgressHooks,
)


class BatchCount(BatchCountHooks, pl.Callback):
    """See `BatchCountHooks`."""


class TotalProgress(TotalProgressHooks, pl.Callback):
    """See `TotalProgressHooks`."""


class ShareDone(ShareDoneHooks, pl.Callback):
    """See `ShareDoneHooks`."""


class History(HistoryHooks, pl.Callback):
    """See `HistoryHooks`."""
