"""What a frozen teacher says of each training image, found once before the training.

It stands for what the teacher says of the views at each step. The image is seen without
augmentation, or in several augmented views, whose mean is kept.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.objectives import teacher_cache
from solo_rekd.objectives.teacher_cache import Put, Table, Wanted
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.progress import bar

KEPT = torch.float16


class TaughtImages:
    """The teacher's features and embeddings of all training images, in half precision.

    Args:
        features: pooled features of N images, shape (N, F), on the CPU.
        embeddings: their L2-normalised embeddings, shape (N, d).
    """

    def __init__(self, features: Tensor, embeddings: Tensor) -> None:
        self.features, self.embeddings = features, embeddings

    def look_up(
        self, indexes: Tensor, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Says what `FrozenTeacher` would say of the images.

        Args:
            indexes: the images' places in the training set, shape (B,); on another device than the
                CPU they are waited for.
            dtype: of the teacher.
            device: where it is to be said.

        Returns:
            Features (B, F) of that type, and unit embeddings (B, d) of float32 at least.
        """
        places = indexes.cpu()
        features = self.features[places].to(device, non_blocking=True).to(dtype)
        embeddings = self.embeddings[places].to(device, non_blocking=True)
        return features, normalize(embeddings.to(torch.promote_types(dtype, torch.float32)), dim=-1)


def find_taught(
    teacher: FrozenTeacher, stem: str, images: DataLoader, views: int, seed: int, folder: Path
) -> TaughtImages:
    """Reads what the teacher says from the cache, or computes it: see `teacher_cache.find`.

    Args:
        teacher: on the device that is to compute.
        stem: the setting `teacher_stem`.
        images: gives the training set, in any order, in batches of (places, images, anything): of
            shape (B, 3, H, W), or (B, k, 3, H, W) with k views of each.
        views: k; below 2 the images come without augmentation.
        seed: of the views.
        folder: of the cache.

    Raises:
        UserError: the images cannot be told from others, or neither disk nor memory has room.
    """
    number = len(images.dataset)  # type: ignore[arg-type]
    tables = {
        "features": Table((number, teacher.num_features), KEPT),
        "embeddings": Table((number, teacher.embedding_dim), KEPT),
    }
    of = f"{views} views" if views > 1 else "the whole image"
    depends_on = {"views": str(max(1, views)), "seed": str(seed if views > 1 else None)}

    def compute(put: Put) -> None:
        for places, batch, *_ in bar(images, "teacher's embeddings", "batch"):
            features, embeddings = embed(teacher, batch)
            put("features", places, features)
            put("embeddings", places, embeddings)

    wanted = Wanted(f"embeddings of {of}", depends_on, tables, compute)
    found = teacher_cache.find(wanted, teacher, stem, images.dataset, folder)
    return TaughtImages(found["features"], found["embeddings"])


def embed(teacher: FrozenTeacher, images: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's features (B, F) and unit embeddings (B, d), a mean over the views if several.

    Args:
        teacher: see `FrozenTeacher`.
        images: shape (B, 3, H, W) or (B, k, 3, H, W).
    """
    views = images.unbind(1) if images.ndim == 5 else (images,)
    found = [teacher(view.to(teacher.device, teacher.dtype)) for view in views]
    features = torch.stack([features.float() for features, _ in found]).mean(0)
    embeddings = torch.stack([units.float() for _, units in found]).mean(0)
    limit = torch.finfo(KEPT).max
    return features.clamp(-limit, limit), normalize(embeddings, dim=-1)
