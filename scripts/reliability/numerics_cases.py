"""The objectives and their variants, each in a loop of one's own with tiny networks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from solo_rekd.api import Objective, make_objective

SIDE, BATCH, IMAGES, CLASSES = 32, 16, 320, 8  # px; a step; in all; of the labels
FEATURES, TAUGHT = 32, 24  # width of the student's features, and of the teacher's
SIZES = {"queue_size": 128, "proj_hidden_dim": 32}
ONLINE = {"teacher_mode": "online", "proj_output_dim": 16}
VIEWS = {"relation_view": "views", "num_prototypes": 16}

# one of each objective first
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rekd": ("rekd", {}),
    "seed": ("seed", {}),
    "compress 2q": ("compress", {"variant": "2q"}),
    "disco": ("disco", {}),
    "crcd": ("crcd", {}),
    "bingo": ("bingo", {}),
    "simreg": ("simreg", {}),
    "coss": ("coss", {"neighbours": 3}),
    "rekd, prototypes of images": ("rekd", {"relation": "prototypes", "num_prototypes": 8}),
    "rekd, prototypes of views": ("rekd", VIEWS),
    "rekd, soft prototypes": ("rekd", VIEWS | {"assignment_temperature": 0.1}),
    "rekd, student's dictionary": ("rekd", VIEWS | {"dictionary": "student"}),
    "rekd, both dictionaries": ("rekd", VIEWS | {"dictionary": "both"}),
    "rekd, online": ("rekd", ONLINE | VIEWS | {"teacher_warmup_epochs": 1}),
    "seed, queue first": ("seed", {"queue_first": "on", "projector": "linear"}),
    "seed, mixup": ("seed", {"mixup": 1.0}),
    "seed, online": ("seed", ONLINE),
    "compress 1q": ("compress", {"variant": "1q"}),
    "disco, online": ("disco", ONLINE),
    "crcd, labels": ("crcd", {"gradient_task": "labels"}),
    "simreg, online": ("simreg", ONLINE),
}


def network(width: int) -> nn.Module:
    """Two convolutions, images (B, 3, SIDE, SIDE) to features (B, width)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 4, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def make_teacher(images: Tensor) -> nn.Module:
    """A network of random weights whose features lie apart, as those of a trained one do."""
    teacher = nn.Sequential(network(TAUGHT), nn.BatchNorm1d(TAUGHT))
    for module in teacher.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # statistics are the mean over all that it sees
    teacher(images)
    return teacher


def draw_images() -> tuple[Tensor, Tensor]:
    """Coloured patterns of CLASSES kinds under noise, (IMAGES, 3, SIDE, SIDE), and their kinds."""
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 3, 4, 4, generator=draw)
    labels = torch.arange(IMAGES) % CLASSES
    images = nn.functional.interpolate(patterns[labels], SIDE, mode="bilinear")
    return images + 0.5 * torch.randn(images.shape, generator=draw), labels


def make(case: str, epochs: int, images: Tensor, labels: Tensor) -> Objective:
    """Makes the objective of a case, the same at every call.

    Args:
        case: a key of `CASES`.
        epochs: length of the training.
        images: those of `draw_images`.
        labels: theirs.
    """
    method, settings = CASES[case]
    torch.manual_seed(1)
    return make_objective(
        method,
        teacher=make_teacher(images),
        features_dim=FEATURES,
        img_size=SIDE,
        max_epochs=epochs,
        num_classes=CLASSES,
        training_images=TensorDataset(images, labels),
        **(SIZES | settings),
    )
