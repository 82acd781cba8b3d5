"""Preprocesses images in an evaluation as in training, as far as the checkpoint records it."""

from pathlib import Path
from typing import NamedTuple, Protocol

from solo_rekd.backbones import HOST_NAMES, is_known, settle_stem
from solo_rekd.checkpoints.run_settings import read_student, refuse_untold
from solo_rekd.images.data_sets import FIXED_SIDES, LARGE_IMAGE, MEAN, STD
from solo_rekd.utils.errors import UserError


class JudgedImages(Protocol):
    """The images that a network is evaluated on, such as `solo_rekd.hosts.jobs.Images`."""

    @property
    def dataset(self) -> str:
        """`custom` for the user's own image folders, or one of `data_sets.NAMES`."""

    @property
    def train(self) -> str:
        """Folder of the training images."""

    @property
    def val(self) -> str | None:
        """Folder of the validation images."""

    @property
    def size(self) -> int | None:
        """Side of the network's images, in px."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Channel means, in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...] | None:
        """Channel standard deviations, in [0, 1]."""

    @property
    def resize_to(self) -> int | None:
        """Side that images of that size are then resized to, in px; None: not resized."""

    @property
    def workers(self) -> int | None:
        """Processes that load images."""


class Seen(NamedTuple):
    """How a network sees images.

    Attributes:
        size: their side, in px.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        stem: the network's first layers: `small`, `imagenet` or `auto`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stem: str


def as_trained(checkpoint: Path, name: str, stem: str, images: JudgedImages) -> Seen:
    """Fills in what an evaluation leaves open: the training's values, or else the hosts' defaults.

    Args:
        checkpoint: file that holds the network.
        name: name of the network.
        stem: first layers that the user asks for, or `auto`.
        images: images of the evaluation; given values are kept.

    Raises:
        UserError: the size that one of our networks was trained at is not known.
    """
    trained = read_student(checkpoint)
    size = FIXED_SIDES.get(images.dataset) or images.size or trained.get("crop_size")
    if size is None:
        ours = is_known(name) and name not in HOST_NAMES
        if ours:
            raise UserError(
                f"{refuse_untold('crop_size', checkpoint)}: give --crop_size N, the side in px of "
                "the images that the student was trained on"
            )
        size = LARGE_IMAGE
    # a ResNet's stem is read from its weights
    if stem == "auto" and trained.get("encoder") == name and not name.startswith("resnet"):
        stem = settle_stem(name, trained["crop_size"], trained.get("stem", "auto"))
    if images.dataset in FIXED_SIDES:
        return Seen(size, MEAN, STD, stem)
    mean, std = (
        tuple(given or trained.get(key) or default)
        for given, key, default in ((images.mean, "mean", MEAN), (images.std, "std", STD))
    )
    return Seen(size, mean, std, stem)
