"""The callbacks of `hosts/shared/progress.py` for the classic host's Lightning."""

from typing import Any

import pytorch_lightning as pl

from solo_rekd.hosts.classic.method import view_colours
from solo_rekd.hosts.shared.progress import (
    BatchCountHooks,
    HistoryHooks,
    ShareDoneHooks,
    TotalProgressHooks,
)
from solo_rekd.hosts.shared.signal import SignalHooks
from solo_rekd.teachers.sight import Sight


class BatchCount(BatchCountHooks, pl.Callback):
    """See `BatchCountHooks`."""


class TotalProgress(TotalProgressHooks, pl.Callback):
    """See `TotalProgressHooks`."""


class ShareDone(ShareDoneHooks, pl.Callback):
    """See `ShareDoneHooks`."""


class History(HistoryHooks, pl.Callback):
    """See `HistoryHooks`."""


class EpochSignal(SignalHooks, pl.Callback):
    """See `SignalHooks`."""

    def sight(self, module: Any) -> Sight:
        """The size and the colours of the first view's flags."""
        settings = module.extra_args
        return Sight(settings["crop_size"][0], *view_colours(settings))
