"""An evaluation sees images as the training did, as far as the checkpoint tells how that was."""

from pathlib import Path
from typing import NamedTuple, Protocol

from solo_rekd.backbones import HOST_NAMES, is_known, settle_stem
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_settings import read_student
from solo_rekd.images.data_sets import FIXED_SIDES, LARGE_IMAGE, MEAN, STD
from solo_rekd.utils.errors import UserError


class JudgedImages(Protocol):
    """What a network is judged by; `solo_rekd.hosts.jobs.Images` is such a thing."""

    @property
    def dataset(self) -> str:
        """`custom` for image folders of one's own, or one of `data_sets.NAMES`."""

    @property
    def train(self) -> str:
        """Folder of the training images."""

    @property
    def val(self) -> str | None:
        """Folder of the validation images."""

    @property
    def size(self) -> int | None:
        """Side of what the network sees, in px."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Of each colour, in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...] | None:
        """Of each colour, in [0, 1]."""

    @property
    def resize_to(self) -> int | None:
        """Side to which what has that size is resized for the network, in px; None: it stays."""

    @property
    def workers(self) -> int | None:
        """Processes that load images."""


class Seen(NamedTuple):
    """How a network sees images.

    Attributes:
        size: their side, in px.
        mean: of each colour, in [0, 1].
        std: of each colour, in [0, 1].
        stem: the network's first layers: `small`, `imagenet` or `auto`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stem: str


def as_trained(checkpoint: Path, name: str, stem: str, images: JudgedImages) -> Seen:
    """Gives an evaluation what it leaves open: what the training had, or else the hosts' default.

    Args:
        checkpoint: the file that holds the network.
        name: of the network.
        stem: the first layers that the user asks for, or `auto`.
        images: what the network is judged by; what is given there stays.

    Raises:
        UserError: nothing tells at which size one of our networks was trained.
    """
    trained = read_student(checkpoint)
    size = FIXED_SIDES.get(images.dataset) or images.size or trained.get("crop_size")
    if size is None:
        ours = is_known(name) and name not in HOST_NAMES
        if ours:
            read_file(checkpoint)  # what is wrong with the file itself comes first
            raise UserError(
                f"--crop_size is missing: neither {checkpoint} nor an args.json beside it tells "
                "it: give --crop_size N, the side in px of the images that the student was "
                "trained on"
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
