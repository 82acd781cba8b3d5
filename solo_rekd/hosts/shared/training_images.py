"""A run's training set without its augmentation, the same way for both hosts."""

import copy
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import Normalize

from solo_rekd.images.transforms import evaluation_pipeline


def training_images(model: Any) -> DataLoader:
    """Loads the training images of a run in their order, as they are evaluated.

    Args:
        model: a method of ours in its training, with `trainer`, `objective` and `batch_size`; its
            `loader_without_dali` stands in for DALI's.

    Returns:
        Batches of (indexes, images, labels), each image resized, cropped in the centre to the size
        of training, and normalised as in training.

    Raises:
        UserError: the host's loader does not tell which image is which.
    """
    loader = model.trainer.train_dataloader
    loader = getattr(loader, "loaders", loader)  # Lightning 1.9 wraps it
    if not isinstance(loader, DataLoader):
        loader = model.loader_without_dali()
    dataset = copy.copy(loader.dataset)
    channels = normalisation(dataset.transform)
    size = model.objective.run.img_size
    dataset.transform = evaluation_pipeline(size, channels.mean, channels.std)["T_val"]
    return DataLoader(
        dataset,
        batch_size=model.batch_size,
        num_workers=loader.num_workers,
        # of its own: a run that finds its bags in the cache draws the same numbers
        generator=torch.Generator(),
    )


def colours_of(augmentation: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the deviation by which a host's augmentation normalises, a colour each."""
    channels = normalisation(augmentation)
    return tuple(map(float, channels.mean)), tuple(map(float, channels.std))


def normalisation(augmentation: Any) -> Normalize:
    """The last step of a host's augmentation, under its layers of crops and pipelines."""
    while not isinstance(augmentation, Normalize):
        steps = getattr(augmentation, "transforms", None)
        augmentation = steps[-1] if steps else augmentation.transform
    return augmentation
