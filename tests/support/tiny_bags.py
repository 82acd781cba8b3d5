"""A tiny teacher and data sets for the tests of bags, importable in processes of their own."""

import datetime
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from solo_rekd.objectives import bags
from solo_rekd.objectives.bags import Bags, find_bags
from solo_rekd.objectives.taught_images import TaughtImages, find_taught
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.teachers.teacher import make_identity
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.in_turn import first_process_first

SIDE = 8


class Backbone(nn.Sequential):
    """Images of SIDE px to 12 features."""

    num_features = 12

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 12), nn.Tanh())


def make_teacher(name: str = "tiny", sha256: str = "aa", seed: int = 0) -> FrozenTeacher:
    """A teacher of random weights and any identity."""
    torch.manual_seed(seed)
    head = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 4))
    return FrozenTeacher(Backbone(), head, make_identity("frozen", name, f"{seed}.pt", sha256))


class Flat(Dataset):
    """A folder without classes, with the names in any order, as a host has it."""

    def __init__(self, root: Path, transform: Any) -> None:
        self.root, self.transform = root, transform
        self.images = os.listdir(root)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = Image.open(self.root / self.images[index]).convert("RGB")
        return index, self.transform(image), -1


def loader(dataset: Any, **settings: Any) -> DataLoader:
    """Batches that do not divide the images, without a draw from torch's own generator."""
    return DataLoader(dataset, **{"batch_size": 7, "generator": torch.Generator()} | settings)


def find(
    dataset: Any,
    folder: Path,
    size: int = 3,
    teacher: FrozenTeacher | None = None,
    stem: str = "auto",
) -> Bags:
    """Finds bags on the CPU."""
    device = torch.device("cpu")
    return find_bags(teacher or make_teacher(), stem, loader(dataset), size, folder, device)


def find_said(
    dataset: Any,
    folder: Path,
    views: int = 0,
    teacher: FrozenTeacher | None = None,
    stem: str = "auto",
    **settings: Any,
) -> TaughtImages:
    """Finds on the CPU what a teacher says of the images."""
    images = loader(dataset, **settings)
    return find_taught(teacher or make_teacher(), stem, images, views, 0, folder)


def join_group(rank: int, store: Path) -> None:
    """Makes this process one of two."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )


def find_in_process(
    rank: int, flat: Path, folders: list[Path], reverse: bool, store: Path, out: Path
) -> None:
    """Finds the bags of a flat folder in one of two processes, the second perhaps in reverse."""
    join_group(rank, store)
    calls, compute = [], bags.compute_bags

    def count(*args: Any) -> Bags:
        calls.append(1)
        return compute(*args)

    bags.compute_bags = count
    dataset = Flat(flat, transforms.ToTensor())
    dataset.images.sort(reverse=reverse and rank == 1)
    found = find(dataset, folders[rank])
    torch.save({"members": found.members, "calls": len(calls)}, out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def fail_in_process(rank: int, failing: int, kind: str, store: Path, out: Path) -> None:
    """Fails in one of two processes under `first_process_first`, and writes what each one met."""
    join_group(rank, store)
    try:
        with first_process_first():
            if rank == failing:
                raise UserError("a=1") if kind == "user" else ValueError("bug")
    except Exception as error:
        (out / f"{rank}.txt").write_text(f"{type(error).__name__}: {error}")


def find_said_in_process(rank: int, flat: Path, folder: Path, store: Path, out: Path) -> None:
    """Finds what a teacher says of a flat folder in one of two processes."""
    join_group(rank, store)
    teacher, calls = make_teacher(), []
    forward = teacher.forward

    def count(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        return forward(images)

    teacher.forward = count  # type: ignore[method-assign]
    dataset = Flat(flat, transforms.ToTensor())
    dataset.images.sort()
    said = find_said(dataset, folder, teacher=teacher)
    found = {"embeddings": said.embeddings.clone(), "calls": len(calls)}
    torch.save(found, out / f"{rank}.pt")
    torch.distributed.destroy_process_group()
