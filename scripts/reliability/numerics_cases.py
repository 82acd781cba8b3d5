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

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rekd": ("rekd", {}),
    "rekd, prototypes of images": ("rekd", {"relation": "prototypes", "num_prototypes": 8}),
    "rekd, prototypes of views": ("rekd", VIEWS),
    "rekd, soft prototypes": ("rekd", VIEWS | {"assignment_temperature": 0.1}),
    "rekd, student's dictionary": ("rekd", VIEWS | {"dictionary": "student"}),
    "rekd, both dictionaries": ("rekd", VIEWS | {"dictionary": "both"}),
    "rekd, online": ("rekd", ONLINE | VIEWS | {"teacher_warmup_epochs": 1}),
    "seed": ("seed", {}),
    "seed, queue first": ("seed", {"queue_first": "on", "projector": "linear"}),
    "seed, mixup": ("seed", {"mixup": 1.0}),
    "seed, online": ("seed", ONLINE),
    "compress 2q": ("compress", {"variant": "2q"}),
    "compress 1q": ("compress", {"variant": "1q"}),
    "disco": ("disco", {}),
    "disco, online": ("disco", ONLINE),
    "crcd": ("crcd", {}),
    "crcd, labels": ("crcd", {"gradient_task": "labels"}),
    "bingo": ("bingo", {}),
    "simreg": ("simreg", {}),
    "simreg, online": ("simreg", ONLINE),
    "coss": ("coss", {"neighbours": 3}),
}


def network(width: int) -> nn.Module:
    """A convolutional network of three layers, images (B, 3, SIDE, SIDE) to features (B, width)."""
    layers: list[nn.Module] = []
    for channels, out in ((3, 8), (8, 16), (16, width)):
        layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


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
        teacher=network(TAUGHT),
        features_dim=FEATURES,
        img_size=SIDE,
        max_epochs=epochs,
        num_classes=CLASSES,
        training_images=TensorDataset(images, labels),
        **(SIZES | settings),
    )
