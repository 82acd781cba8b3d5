"""The two teachers: one that is jointly trained with the student, and one that is frozen."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo_rekd.checkpoints.projector import widths
from solo_rekd.utils.precision import finite

Identity = dict[str, Any]
SEEN = ("stem", "mean", "std", "size")  # the preprocessing in an identity, which files may lack


def _normalize(x: Tensor) -> Tensor:
    """Normalises rows in at least float32: half precision loses small norms."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def make_identity(
    mode: str,
    name: str | None = None,
    checkpoint: str | None = None,
    sha256: str | None = None,
    **seen: Any,
) -> Identity:
    """Makes the record of a teacher in a student's checkpoint.

    Args:
        mode: `online` or `frozen`.
        name: name of its backbone.
        checkpoint: path of its weights.
        sha256: SHA-256 of that file.
        seen: how it sees images, by the names in `SEEN`: its stem, channel means and standard
            deviations in [0, 1] as lists, and side in px.
    """
    return {"mode": mode, "name": name, "checkpoint": checkpoint, "sha256": sha256, **seen}


def _keeping_types(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Makes a function that moves tensors to where `fn` would, without changing their type."""

    def move(tensor: Tensor) -> Tensor:
        moved = fn(tensor)
        return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

    return move


def _seen(views: nn.Module | None, images: Tensor) -> Tensor:
    return images if views is None else views(images)


def _twin(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).requires_grad_(False)


class OnlineTeacher(nn.Module):
    """A jointly trained teacher, with a momentum twin that gives the keys (as in MoCo).

    A teacher that starts from a checkpoint keeps its BatchNorm statistics: a batch of different
    images has different ones, with which its embeddings would lose their meaning.

    Args:
        backbone: images (B, 3, H, W) to pooled features (B, num_features).
        projector: features to embeddings (B, d).
        identity: record of it in a checkpoint, see `make_identity`.
        views: converts the student's views to its own; None: they are the same.

    Attributes:
        momentum_backbone: twin of the backbone, updated by the host's momentum, without gradients.
        momentum_projector: twin of the projector.
        embedding_dim: d.
        num_features: width of the features.
        identity: as given.
        facts: how its file was read, see `Facts`; None: there is no file.
    """

    facts: dict[str, Any] | None = None

    def __init__(
        self,
        backbone: nn.Module,
        projector: nn.Sequential,
        identity: Identity | None = None,
        views: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.views = views
        self.backbone = backbone
        self.projector = projector
        self.momentum_backbone = _twin(backbone)
        self.momentum_projector = _twin(projector)
        self.num_features = int(backbone.num_features)  # type: ignore[arg-type]
        self.embedding_dim = widths(projector)[1]
        self.identity = identity or make_identity("online")
        self.train()  # Lightning 2 does not set the modes

    @property
    def backbones(self) -> list[nn.Module]:
        """Returns the networks that take images."""
        return [self.backbone, self.momentum_backbone]

    @property
    def pretrained(self) -> bool:
        """Whether it started from a checkpoint, so that its embeddings are meaningful at once."""
        return self.identity["checkpoint"] is not None

    def train(self, mode: bool = True) -> "OnlineTeacher":
        """Sets the mode, except for BatchNorm layers that keep their statistics."""
        super().train(mode)
        if self.pretrained:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def query(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, num_features), L2-normalised embeddings (B, d), with gradients."""
        features = self.backbone(_seen(self.views, images))
        return features, _normalize(self.projector(features))

    @torch.no_grad()
    def key(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the momentum twin's features and embeddings, no gradients, always finite."""
        features = self.momentum_backbone(_seen(self.views, images))
        return finite(features), finite(_normalize(self.momentum_projector(features)))

    def see_as_student(self, **seen: Any) -> None:
        """Takes the student's views as they are from now on; `seen` are their mean, std, size."""
        self.views = None
        self.identity |= seen

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Returns (online, momentum) pairs, for the host's momentum update."""
        return [
            (self.backbone, self.momentum_backbone),
            (self.projector, self.momentum_projector),
        ]


class FrozenTeacher(nn.Module):
    """A teacher that never changes: always in eval mode, without gradients, in no checkpoint.

    Its networks are not registered as submodules, so that `state_dict`, `parameters`, `modules`,
    `train`, `requires_grad_` and DDP do not reach them; they follow this module to another device
    or precision.

    Args:
        backbone: images (B, 3, H, W) to pooled features (B, num_features).
        projector: features to embeddings (B, d); None: the features are the embedding.
        identity: record of it in a checkpoint, see `make_identity`.
        views: converts the student's views to its own; None: they are the same.
        precision: precision of its weights and arithmetic; None: the run's.

    Attributes:
        precision: as given.
        embedding_dim: d.
        num_features: width of the features.
        identity: as given.
        facts: how its file was read, see `Facts`; None: there is no file.
        pretrained: always True.
    """

    facts: dict[str, Any] | None = None
    pretrained = True

    def __init__(
        self,
        backbone: nn.Module,
        projector: nn.Sequential | None,
        identity: Identity | None = None,
        views: nn.Module | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        head = nn.Identity() if projector is None else projector
        networks = (backbone, head, *([] if views is None else [views]))
        # nn.Module registers a module that is an attribute, but not one inside a tuple
        self._networks = tuple(network.eval().requires_grad_(False) for network in networks)
        self.precision = precision
        if precision is not None:
            for network in self._networks[:2]:
                network.to(precision)
        self.num_features = int(backbone.num_features)  # type: ignore[arg-type]
        self.embedding_dim = self.num_features if projector is None else widths(projector)[1]
        self.identity = identity or make_identity("frozen")

    @property
    def backbones(self) -> list[nn.Module]:
        """Returns the network that takes images."""
        return [self._networks[0]]

    @property
    def _first(self) -> Tensor:
        """Returns a tensor that follows the networks, which may not have tensors themselves."""
        backbone = self._networks[0]
        return next(chain(backbone.parameters(), backbone.buffers(), [torch.empty(0)]))

    @property
    def dtype(self) -> torch.dtype:
        """Type of its inputs and outputs: that of its weights, or float32."""
        return self._first.dtype if self.precision is None else torch.float32

    @property
    def device(self) -> torch.device:
        """Device of its weights."""
        return self._first.device

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, num_features) and L2-normalised embeddings (B, d), both finite."""
        backbone, head, *views = self._networks
        with torch.inference_mode():
            images = _seen(views[0] if views else None, images)
            if self.precision is None:
                features = backbone(images)
                said = finite(features), finite(_normalize(head(features)))
            else:
                with torch.autocast(images.device.type, enabled=False):
                    features = backbone(images.to(self.precision))
                    said = finite(features.float()), finite(_normalize(head(features)))
        # backward cannot save inference tensors, but it can save a copy
        features, embeddings = (each.clone() for each in said)
        return features, embeddings

    def views(self, views: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Returns `forward` of each of several views of one shape, from one joint batch."""
        features, embeddings = self(torch.cat(views))
        return [*zip(features.chunk(len(views)), embeddings.chunk(len(views)), strict=True)]

    def see_as_student(self, **seen: Any) -> None:
        """Takes the student's views as they are from now on; `seen` are their mean, std, size."""
        self._networks = self._networks[:2]
        self.identity |= seen

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrozenTeacher":
        super()._apply(fn, recurse)
        move = fn if self.precision is None else _keeping_types(fn)
        for network in self._networks:
            network._apply(move, recurse)
        return self
