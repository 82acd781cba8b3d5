"""A run's training set without its augmentation, the same way for both hosts."""

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Normalize

from solo_rekd.hosts.shared.drawn_images import host_dataset
from solo_rekd.images.tensors import on_tensors
from solo_rekd.images.transforms import evaluation_pipeline


class SeededViews(Dataset):
    """Several augmented views of each image, decided by a seed and the image's place alone.

    Args:
        dataset: the host's, of (place, crops, label), with the augmentation of the training.
        views: k, of each image.
        seed: see above.

    Attributes:
        dataset: as given.
    """

    def __init__(self, dataset: Any, views: int, seed: int) -> None:
        self.dataset, self.views, self.seed = dataset, views, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> tuple[int, Tensor, Any]:
        """The place, views of shape (k, 3, H, W), and the label."""
        found: list[Tensor] = []
        # the training then draws the numbers that it would have drawn
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()
        try:
            draws = np.random.SeedSequence((self.seed, place)).generate_state(3)
            torch.default_generator.manual_seed(int(draws[0]))  # a GPU's draws are left alone
            random.seed(int(draws[1]))
            np.random.seed(draws[2])
            while len(found) < self.views:
                _, crops, label = self.dataset[place]
                found += crops
        finally:
            torch.set_rng_state(states[0])
            random.setstate(states[1])
            np.random.set_state(states[2])
        return place, torch.stack(found[: self.views]), label


def host_loader(model: Any) -> Any:
    """The loader by which the host's trainer trains a model: torch's, or DALI's.

    Args:
        model: in its training.
    """
    loader = model.trainer.train_dataloader
    return getattr(loader, "loaders", loader)  # Lightning 1.9 wraps it


def training_images(model: Any, views: int = 0, seed: int = 0) -> DataLoader:
    """Loads the training images of a run in their order, as they are evaluated.

    Args:
        model: a method of ours in its training, with `trainer`, `objective` and `batch_size`; its
            `loader_without_dali` stands in for DALI's.
        views: k augmented views of each image in its place; 0: the image.
        seed: of the views.

    Returns:
        Batches of (indexes, images, labels), each image resized, cropped in the centre to the size
        of training, and normalised as in training; or its views, shape (B, k, 3, H, W).

    Raises:
        UserError: the host's loader does not tell which image is which.
    """
    loader = host_loader(model)
    if not isinstance(loader, DataLoader):
        loader = model.loader_without_dali()
    dataset: Any = copy.copy(host_dataset(loader))
    if views:
        dataset = SeededViews(dataset, views, seed)
    else:
        channels = normalisation(dataset.transform)
        size = model.objective.run.img_size
        plain = evaluation_pipeline(size, channels.mean, channels.std)["T_val"]
        dataset.transform = on_tensors(plain)  # as its images may come
    return DataLoader(
        dataset,
        batch_size=model.batch_size,
        num_workers=loader.num_workers,
        # of its own: a run that finds its bags in the cache draws the same numbers
        generator=torch.Generator(),
    )


def colours_of(augmentation: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the deviation by which a host's augmentation normalises, per colour channel."""
    channels = normalisation(augmentation)
    return tuple(map(float, channels.mean)), tuple(map(float, channels.std))


def normalisation(augmentation: Any) -> Normalize:
    """The last step of a host's augmentation, under its layers of crops and pipelines."""
    while not isinstance(augmentation, Normalize):
        steps = getattr(augmentation, "transforms", None)
        augmentation = steps[-1] if steps else augmentation.transform
    return augmentation
