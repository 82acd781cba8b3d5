"""A frozen teacher's outputs for each training image, computed once before the training.

They replace its outputs for the views at each step. The image is seen without augmentation, or in
several augmented views, whose mean is kept.
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
        embeddings: L2-normalised embeddings, shape (N, d).
    """

    def __init__(self, features: Tensor, embeddings: Tensor) -> None:
        self.features, self.embeddings = features, embeddings

    def look_up(
        self, indexes: Tensor, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Returns the outputs that `FrozenTeacher` would have for the images.

        Args:
            indexes: the images' indexes in the training set, shape (B,); reading them from a device
                other than the CPU waits.
            dtype: type of the teacher.
            device: device of the results.

        Returns:
            Features (B, F) of that type, and unit embeddings (B, d) in at least float32.
        """
        places = indexes.cpu()
        features = self.features[places].to(device, non_blocking=True).to(dtype)
        embeddings = self.embeddings[places].to(device, non_blocking=True)
        return features, normalize(embeddings.to(torch.promote_types(dtype, torch.float32)), dim=-1)


def find_taught(
    teacher: FrozenTeacher, stem: str, images: DataLoader, views: int, seed: int, folder: Path
) -> TaughtImages:
    """Reads the teacher's outputs from the cache, or computes them: see `teacher_cache.find`.

    Args:
        teacher: teacher, on the device for the computation.
        stem: value of the setting `teacher_stem`.
        images: loader of the training set, in any order, in batches of (indexes, images, anything),
            with images of shape (B, 3, H, W), or (B, k, 3, H, W) with k views of each.
        views: k; below 2 the images are not augmented.
        seed: seed of the views.
        folder: folder of the cache.

    Raises:
        UserError: the images cannot be identified, or neither disk nor memory has room.
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
    """Computes features (B, F) and unit embeddings (B, d), averaged over several views.

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
