"""Says after each epoch how many photos could not be read, so that others took their places."""

import logging
from typing import Any

import torch
from torch.utils.data import DataLoader

from solo_rekd.hosts.shared.drawn_images import host_dataset
from solo_rekd.hosts.shared.training_images import host_loader
from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.utils.processes import sum_over_processes

_log = logging.getLogger("solo_rekd")


class UnreadableHooks:
    """Hooks of a callback for both Lightnings, to be put in front of their `Callback`."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Says how many photos of all processes, where there are any, and names the first."""
        loader = host_loader(pl_module)
        dataset = host_dataset(loader) if isinstance(loader, DataLoader) else None
        if not isinstance(dataset, UnlabelledPhotos):
            return
        places = dataset.end_epoch()
        number = int(sum_over_processes(torch.tensor(len(places), device=pl_module.device)))
        if number and trainer.is_global_zero:
            named = f", among them {dataset.path(int(places[0]))}" if len(places) else ""
            _log.warning(
                "epoch %d: %d of %d photos could not be read%s: others took their places",
                *(trainer.current_epoch + 1, number, len(dataset), named),
            )
