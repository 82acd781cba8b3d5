"""What was read from a file: networks, and what is known of them."""

from dataclasses import dataclass

from torch import nn

from solo_rekd.checkpoints.facts import Facts


@dataclass(frozen=True)
class Loaded:
    """The networks that a checkpoint holds.

    Attributes:
        backbone: images to pooled features.
        projector: features to embeddings, where the checkpoint has one.
        img_size: side of the square inputs that the backbone is built for, in px.
        facts: how the file was read.
    """

    backbone: nn.Module
    projector: nn.Sequential | None
    img_size: int
    facts: Facts

    @property
    def stem(self) -> str:
        """The backbone's first layers: `auto` for timm's own, else as in `build_backbone`."""
        return self.facts.stem

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return self.facts.sha256
