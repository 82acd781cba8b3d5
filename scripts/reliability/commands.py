"""The commands that are killed, on images and with a teacher that are made for them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from study.runner import SOLO_REKD

from solo_rekd.backbones import build_backbone

SIDE, CLASSES = 32, "abc"
PICTURES = {"train": 16, "val": 8}  # of each class
EPOCHS, BATCH, QUEUE, LOADERS = 4, 8, 24, 2
TEACHER, TEACHER_WIDTH = "timm:resnet10t", 512
HEAD = "+proj_hidden_dim=32"
FROZEN = f"{HEAD}+proj_output_dim={TEACHER_WIDTH}"
# by the names that the results have for them
ARMS = {
    "rekd online": f"rekd+teacher_mode=online+teacher_warmup_epochs=1{HEAD}+proj_output_dim=16",
    "rekd frozen": f"rekd{FROZEN}",
    "seed": f"seed{FROZEN}",
    "crcd": f"crcd{FROZEN}",
}
COMPARE, DISTIL = "compare", "distil"


@dataclass(frozen=True)
class Given:
    """What the commands are given.

    Attributes:
        host: as `--host` takes it.
        folder: with the images and the teacher's file in it.
    """

    host: str
    folder: Path

    @property
    def data(self) -> Path:
        """The images, as `train/<class>` and `val/<class>`."""
        return self.folder / "data"

    @property
    def teacher(self) -> Path:
        """The file of the frozen teacher's weights."""
        return self.folder / "teacher.pth"

    @property
    def environment(self) -> dict[str, str]:
        """Of a command: one thread, so that sums have one order, and caches of its own."""
        caches = {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return {**os.environ, "OMP_NUM_THREADS": "1", **caches}

    def make(self) -> None:
        """Writes the images and the teacher's file, where they are not there yet."""
        for seed, (split, number) in enumerate(PICTURES.items()):
            write_images(self.data / split, seed, number)
        if not self.teacher.exists():
            torch.manual_seed(0)
            network = build_backbone(TEACHER, SIDE, "auto", "teacher")
            torch.save(network.state_dict(), self.teacher)

    def words(self, command: str, out: Path, arms: Sequence[str]) -> list[str]:
        """The line of a command.

        Args:
            command: `compare` or `distil`.
            out: its folder.
            arms: of the comparison.
        """
        shared = {
            **{"host": self.host, "student": "alexnet", "out": out, "epochs": EPOCHS},
            **{"teacher": TEACHER, "teacher_checkpoint": self.teacher, "batch_size": BATCH},
            **{"queue_size": QUEUE, "crop_size": SIDE},
        }
        if command == DISTIL:
            of_host = [self.data / "train", "--set", "proj_hidden_dim=32"]
            own: dict[str, object] = {
                "method": "rekd",
                "workers": LOADERS,
                "drawn_views": 0,
                "device": "cpu",
            }
        else:
            of_host = ["--data", self.data]
            own = {"linear_epochs": 1, "num_workers": LOADERS}
            own["methods"] = ",".join(ARMS[name] for name in arms)
        options = [word for name, value in (shared | own).items() for word in (f"--{name}", value)]
        return [*SOLO_REKD, command, *map(str, [*of_host, *options])]


def write_images(folder: Path, seed: int, number: int) -> None:
    """Writes noise under a colour of its class; what is there already stays."""
    rng = np.random.default_rng(seed)
    for channel, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3))
            pixels[..., channel] = 64 + pixels[..., channel] // 2
            path = folder / name / f"{index:02d}.png"
            if not path.exists():
                Image.fromarray(pixels.astype("uint8")).save(path)
