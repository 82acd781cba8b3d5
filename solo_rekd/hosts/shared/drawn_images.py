"""Views that were drawn before the training, given by the loader that a host has built."""

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solo_rekd.hosts.shared.checks import refuse_dali
from solo_rekd.objectives.drawn_views import DrawnImages


class DrawnDataset(Dataset):
    """What stands for a host's data set in its loader: the epoch's two drawn views of each image.

    Args:
        of_host: the data set, of (place, crops, label).
        images: what was drawn of it.
    """

    def __init__(self, of_host: Any, images: DrawnImages) -> None:
        self.of_host, self.images = of_host, images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[int, list[Tensor], int]:
        """The place, two views of shape (3, H, W), and the label."""
        return place, self.images.views(place), int(self.images.labels[place])


def host_dataset(loader: DataLoader) -> Any:
    """The data set with which a host built its loader."""
    return getattr(loader.dataset, "of_host", loader.dataset)


def put_drawn_images(loader: Any, images: DrawnImages) -> None:
    """Makes a host's loader give drawn views from its next epoch on.

    Args:
        loader: of the training, of a Lightning's or torch's kind.
        images: see `DrawnImages`.

    Raises:
        UserError: it is DALI's.
    """
    refuse_dali(not isinstance(loader, DataLoader), {"drawn_views": images.pixels.shape[1]})
    # a loader refuses a data set by assignment, for its sampler could be of another length
    vars(loader)["dataset"] = DrawnDataset(host_dataset(loader), images)
    loader._iterator = None  # of workers that persist, which have the data set of before
