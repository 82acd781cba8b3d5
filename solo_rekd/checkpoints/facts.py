"""What is known of a network that was read from a file, for logs and reports."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.checkpoints.projector import has_activation, widths
from solo_rekd.checkpoints.run_record import plain

_POOLING = {
    "token": "class token",
    "avg": "mean of the patches or of the last map",
    "map": "attention pooling",
    "max": "maximum of the last map",
}


@dataclass(frozen=True)
class Facts:
    """How a file was read.

    Attributes:
        path: path of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        format: name of the format it is in.
        naming: the library whose parameter names were translated; None: none were.
        inert: functions and classes that the file refers to, none of which was called.
        architecture: the backbone that took the weights.
        num_features: width of its pooled features.
        matched: number of tensors that the backbone took.
        left_out: keys of tensors that it does not have.
        resized: keys of position embeddings that were resized to another grid.
        stem: the first layers, a name of `build_backbone`.
        pooling: what the features are, in words.
        head: the projector in words, such as `Linear 64 to 16`; empty: there is none.
        activation: activation of the projector: `relu`, `gelu` or `none`.
        activation_known: whether the format records it.
        preprocessing: preprocessing that the network was trained with, as far as known.
        doubts: assumptions about what is not recorded, one sentence each.
    """

    path: str
    sha256: str
    format: str
    architecture: str
    num_features: int
    pooling: str
    preprocessing: Preprocessing
    matched: int = 0
    naming: str | None = None
    inert: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()
    stem: str = "auto"
    head: str = ""
    activation: str = "none"
    activation_known: bool = True
    doubts: tuple[str, ...] = ()

    def line(self) -> str:
        """Writes the facts in one line, for a log."""
        guessed = "" if self.activation_known else " (a guess)"
        head = "no projector"
        if self.head:
            head = f"projector {self.head}"
            head += f", {self.activation}{guessed}" if self.activation != "none" else ""
        resized = f", resized {', '.join(self.resized)}" if self.resized else ""
        return (
            f"{self.path}: {self.format}, {self.matched} tensors matched, "
            f"{len(self.left_out)} left out{resized}, stem {self.stem}, features {self.pooling}, "
            f"{head}, sha256 {self.sha256[:12]}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the facts as JSON can hold them."""
        return plain(asdict(self))


def describe_pooling(backbone: nn.Module) -> str:
    """Describes how a backbone pools its features, as far as it records that."""
    pooling = getattr(backbone, "global_pool", None)
    return _POOLING.get(pooling, pooling) if isinstance(pooling, str) else "mean of the last map"


def describe_head(projector: nn.Sequential | None, activation: str | None) -> tuple[str, str, bool]:
    """Describes a projector: in words, its activation, and whether that is known."""
    if projector is None:
        return "", "none", True
    kind = "Linear" if len(projector) == 1 else "MLP"
    head = "{} {} to {}".format(kind, *widths(projector))
    if not has_activation(projector):
        return head, "none", True
    return head, activation or "relu", activation is not None
