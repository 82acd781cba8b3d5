"""A teacher from a file or a module, with its preprocessing."""

import copy
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from solo_rekd.checkpoints.load import log_facts, read_networks
from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.checkpoints.projector import widths
from solo_rekd.config import AUTO, MODULE, NATIVE, DistillationConfig, from_settings
from solo_rekd.images.data_sets import LARGE_IMAGE
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.teachers.given import given_backbone
from solo_rekd.teachers.teacher import make_identity
from solo_rekd.utils.errors import UserError

Colours = tuple[float, ...]


class Teacher:
    """A pretrained teacher, for `make_objective` or to be called with images.

    Attributes:
        settings: settings that `make_objective` takes from it, by name.
        module: the given network; None: it is read from a file.
        mean: channel means that its images are normalised with, in [0, 1]; None: not known.
        std: channel standard deviations that they are normalised with, in [0, 1]; None: not known.
        size: side of its images, in px: as asked, else as it was trained; None: not known.
        facts: how its file was read, as JSON can hold it; None: there is no file.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        module: nn.Module | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        self.settings, self.module, self._loaded = settings, module, loaded
        known = Preprocessing() if loaded is None else loaded.facts.preprocessing
        mean, std, size = (settings[f"teacher_{key}"] for key in ("mean", "std", "size"))
        self.mean: Colours | None = known.mean if mean == AUTO else mean
        self.std: Colours | None = known.std if std == AUTO else std
        self.size: int | None = known.size if isinstance(size, str) else size
        self.facts: dict[str, Any] | None = None if loaded is None else loaded.facts.as_dict()
        self._networks: dict[int, FrozenTeacher] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes features and embeddings of images, without gradient and in eval mode.

        Args:
            images: shape (B, 3, H, H), normalised by `mean` and `std`.

        Returns:
            Pooled features (B, F), and the L2-normalised embeddings (B, d), which are those of the
            features where there is no projector.
        """
        network = self.at(images.shape[-1])
        return network.to(images.device)(images.to(network.dtype))

    def at(self, size: int) -> FrozenTeacher:
        """Returns the network for images of `size` px.

        Raises:
            UserError: it does not accept images of that size.
        """
        if size not in self._networks:
            self._networks[size] = self._build(size)
        return self._networks[size]

    def embedding_dim(self, size: int) -> int:
        """Returns the width of its embedding; for a module, measured on images of `size` px."""
        if self._loaded is None:
            return given_backbone(self.module, MODULE, size)[0].num_features
        head = self._loaded.projector
        return cast(int, self._loaded.backbone.num_features) if head is None else widths(head)[1]

    @property
    def has_projector(self) -> bool:
        """Whether its file holds a projector."""
        return self._loaded is not None and self._loaded.projector is not None

    def _build(self, size: int) -> FrozenTeacher:
        if self._loaded is None:
            # a copy, because a frozen teacher disables the gradients of its network
            backbone, digest = given_backbone(copy.deepcopy(self.module), MODULE, size)
            return FrozenTeacher(backbone, None, make_identity("frozen", MODULE, sha256=digest))
        loaded = self._loaded
        if size != loaded.img_size:
            path, name = self.settings["teacher_checkpoint"], self.settings["teacher"]
            loaded = read_networks(Path(path), name, size, self.settings["teacher_stem"])
        return FrozenTeacher(loaded.backbone, loaded.projector)


def load_teacher(
    network: str | nn.Module,
    checkpoint: str | PathLike[str] | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | str | None = None,
    stem: str = AUTO,
    precision: str = AUTO,
) -> Teacher:
    """Loads a pretrained teacher.

    Args:
        network: name of the backbone (`solo-rekd list`), or `huggingface` or `onnx`; or a module,
            images (B, 3, H, W) to features (B, F), which an objective with a frozen teacher uses
            itself, in eval mode and without gradients from then on.
        checkpoint: weights file, in any format of `solo-rekd list`; nothing in it is ever
            executed. None with a module.
        mean: channel means that normalise the teacher's images, in [0, 1]; None: as its file
            records, else as the student's.
        std: channel standard deviations that normalise them, in [0, 1]; None: as for `mean`.
        size: side of its images in an objective, in px; `native`: the size it was trained at;
            None: the student's.
        stem: its first layers; `auto`: those its weights were trained with.
        precision: `float32`, `bfloat16` or `float16`, for its arithmetic while it is frozen;
            `auto`: that of its weights.

    Returns:
        The teacher, for `make_objective(teacher=...)` or to be called with images.

    Raises:
        UserError: a ValueError in one line: the file cannot be read, does not hold the whole
            network, or a value is not allowed.
    """
    given = {"teacher": MODULE} if isinstance(network, nn.Module) else {"teacher": network}
    settings: dict[str, Any] = given | {
        "teacher_checkpoint": None if checkpoint is None else fspath(checkpoint),
        "teacher_stem": stem,
        "teacher_mean": AUTO if mean is None else mean,
        "teacher_std": AUTO if std is None else std,
        "teacher_size": AUTO if size is None else size,
        "teacher_precision": precision,
    }
    if isinstance(network, nn.Module):
        if checkpoint is not None:
            raise UserError(f"checkpoint={fspath(checkpoint)!r} is not used with a module: load "
                            "the weights into the module")  # fmt: skip
    elif checkpoint is None:
        raise UserError(
            f"load_teacher({network!r}) needs checkpoint=FILE; for a teacher from scratch give "
            f"make_objective(..., teacher={network!r}, teacher_mode='online')"
        )
    config = from_settings(DistillationConfig, settings | {"teacher_mode": "frozen"})
    settings = {name: getattr(config, name) for name in settings}
    if isinstance(network, nn.Module):
        return Teacher(settings, network)
    path = Path(settings["teacher_checkpoint"])
    loaded = _read(path, network, None if size == NATIVE else size, stem)
    log_facts(loaded.facts)
    return Teacher(settings, loaded=loaded)


def _read(path: Path, name: str, size: Any, stem: str) -> Loaded:
    try:
        return read_networks(path, name, size, stem)
    except UserError:
        if size is not None:
            raise
        # perhaps only the size is not known
        return read_networks(path, name, LARGE_IMAGE, stem)
