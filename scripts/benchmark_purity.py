"""Measures how pure a teacher's groups are, by how many views of an image they are mined from.

Purity is the share of two different images of a group that are of one class, over the groups of
spherical k-means on the means of 1, 2, 4 and 8 augmented views, of the whole images, and of the
whole images with BatchNorm's statistics of their batch of 32. Usage:
    python scripts/benchmark_purity.py DATA/tune --teacher resnet18 --teacher_checkpoint FILE
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.modules.prototypes import assign, spherical_kmeans
from solo_rekd.teachers import FrozenTeacher

VIEWS = (1, 2, 4, 8)


def purity(ids: Tensor, labels: Tensor) -> float:
    """Share of the pairs of different images of one group, (N,), that are of one class, (N,)."""
    cells = torch.zeros(int(ids.max()) + 1, int(labels.max()) + 1)
    cells.index_put_((ids, labels), torch.ones(len(ids)), accumulate=True)
    pairs = cells.sum(1)
    return float((cells * (cells - 1)).sum() / (pairs * (pairs - 1)).sum())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="image folder")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--teacher_checkpoint", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64, help="side of the views [px]")
    parser.add_argument("--mean", type=float, nargs=3, default=(0.5, 0.5, 0.5))
    parser.add_argument("--std", type=float, nargs=3, default=(0.5, 0.5, 0.5))
    parser.add_argument("--prototypes", type=int, nargs="+", default=(10, 30, 100, 300))
    args = parser.parse_args()
    torch.manual_seed(0)
    loaded = load_networks(args.teacher_checkpoint, args.teacher, args.size)
    teacher = FrozenTeacher(loaded.backbone, loaded.projector)
    to_tensor = [transforms.ToTensor(), transforms.Normalize(args.mean, args.std)]
    whole = transforms.Compose([transforms.Resize((args.size, args.size)), *to_tensor])
    augmented = transforms.Compose(  # as `solo-rekd compare` trains on small images
        [
            transforms.RandomResizedCrop(args.size, scale=(0.2, 1)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomHorizontalFlip(),
            *to_tensor,
        ]
    )

    def embed(transform: transforms.Compose) -> Tensor:
        loader = DataLoader(datasets.ImageFolder(args.images, transform), batch_size=128)
        return torch.cat([teacher(images)[1] for images, _ in loader])

    views = torch.stack([embed(augmented) for _ in range(max(VIEWS))])
    sources = {f"{n} views": normalize(views[:n].mean(0), dim=1) for n in VIEWS}
    sources["whole image"] = embed(whole)
    loaded.backbone.train()  # shuffled: the folder is sorted by class
    order = torch.randperm(len(sources["whole image"]))
    shuffled = Subset(datasets.ImageFolder(args.images, whole), order.tolist())
    batches = [teacher(images)[1] for images, _ in DataLoader(shuffled, batch_size=32)]
    sources["its batch"] = torch.cat(batches)[order.argsort()]
    labels = torch.tensor(datasets.ImageFolder(args.images).targets)
    print("prototypes ", *(f"{name:>11}" for name in sources))
    for number in args.prototypes:
        found = (
            purity(assign(spherical_kmeans(images, number), images)[1], labels)
            for images in sources.values()
        )
        print(f"{number:10} ", *(f"{value:11.3f}" for value in found))


if __name__ == "__main__":
    main()
