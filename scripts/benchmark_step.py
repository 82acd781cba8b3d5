"""Time of a whole training step of each method, and what ImageNet would cost at that speed.

The host's own trainer runs the step (forward, backward, optimiser, momentum twins) on random images
that are in memory, so that loading does not count. The methods take turns, several rounds, and
their medians are compared.

Usage:
    OMP_NUM_THREADS=1 python scripts/benchmark_step.py --student mobilenet_v3_large \
        --teacher resnet50 --batch_size 8 --methods mocov2plus rekd rekd:teacher_mode=frozen
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from solo.args import setup
from solo.methods import METHODS
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Normalize

from solo_rekd import hosts
from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector

IMAGENET = 1_281_167  # training images
FLAGS = (
    "--dataset imagenet --train_dir images --optimizer sgd --lr 0.03 "
    "--scheduler warmup_cosine --max_epochs 1 --brightness 0.4 --contrast 0.4 --saturation 0.4 "
    "--hue 0.1 --num_crops_per_aug 2 --proj_hidden_dim 2048 --proj_output_dim 128 "
    "--enable_progress_bar False --num_workers 0 --name step"
).split()


class TwoViews(Normalize):
    """Two views of an image of noise, in place of a host's augmentation."""

    def __init__(self, side: int) -> None:
        super().__init__((0.5,) * 3, (0.5,) * 3)
        self.view = torch.randn(3, side, side)

    def forward(self, image: Image.Image) -> list[torch.Tensor]:
        return [self.view, self.view.flip(2)]


class RandomImages(Dataset):
    """Two views of noise an image, with the index and label that the host's data sets give.

    Another transform, such as that of `teacher_view=image`, gets a grey image.
    """

    def __init__(self, number: int, side: int) -> None:
        self.image, self.transform = Image.new("RGB", (side, side), "grey"), TwoViews(side)
        self.data = np.arange(number)  # by which data sets are told from others

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[int, Any, int]:
        return index, self.transform(self.image), index % 1000


class StepTimer(pl.Callback):
    """Seconds of each step after the first, which also allocates."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *args: object) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *args) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def write_teacher(name: str, side: int, path: Path) -> None:
    """Writes a network with a projector, its weights random, as solo-learn does."""
    network = build_backbone(name, side)
    projector = two_layer_projector(int(network.num_features), 2048, 128)
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    state |= {f"projector.{key}": value for key, value in projector.state_dict().items()}
    torch.save({"state_dict": state | {"classifier.weight": torch.zeros(1)}}, path)


def run_steps(name: str, args: argparse.Namespace, teacher: Path) -> list[float]:
    """Seconds of a few steps of `method[:flag=value,...]`."""
    method, _, settings = name.partition(":")
    pairs = dict(pair.split("=", 1) for pair in settings.split(",") if pair)
    pairs |= {"method": method, "encoder": args.student, "crop_size": args.crop_size}
    if method != "simclr":
        pairs |= {"queue_size": args.queue_size, "base_tau_momentum": 0.99}
    if method not in ("simclr", "mocov2plus"):
        pairs |= {"teacher": args.teacher}
    if pairs.get("teacher_mode") == "frozen":
        pairs |= {"teacher_checkpoint": teacher, "teacher_cache": teacher.parent}
    if method == "rekd":
        pairs |= {"teacher_warmup_epochs": 0}
    commands = hosts.commands()
    flags = [*FLAGS, "--batch_size", str(args.batch_size), "--data_dir", str(teacher.parent)]
    flags += [word for key, value in pairs.items() for word in (f"--{key}", str(value))]
    settings = commands.parse(flags, setup.parse_args_pretrain)
    timer = StepTimer()
    trainer = commands.make_trainer(settings, name, [timer])
    images = RandomImages((args.steps + 1) * args.batch_size, args.crop_size)
    trainer.fit(METHODS[method](**vars(settings)), DataLoader(images, args.batch_size))
    return timer.seconds[1:]


def main() -> None:
    """Takes the methods in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="mobilenet_v3_large")
    parser.add_argument("--teacher", default="resnet50")
    parser.add_argument("--methods", nargs="+", default=["mocov2plus", "rekd"])
    parser.add_argument("--batch_size", type=int, default=32, help="a process. Default: 32")
    parser.add_argument("--crop_size", type=int, default=224)
    parser.add_argument("--queue_size", type=int, default=65536)
    parser.add_argument("--steps", type=int, default=5, help="a round. Default: 5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200, help="of the estimate. Default: 200")
    args = parser.parse_args()

    seconds: dict[str, list[float]] = {name: [] for name in args.methods}
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher.pth"
        write_teacher(args.teacher, args.crop_size, teacher)
        (Path(folder) / "images" / "grey").mkdir(parents=True)  # which the host asks for
        Image.new("RGB", (8, 8), "grey").save(Path(folder) / "images" / "grey" / "0.png")
        for _ in range(args.rounds):
            for name in args.methods:
                seconds[name] += run_steps(name, args, teacher)
    first = statistics.median(seconds[args.methods[0]])
    images = IMAGENET * args.epochs
    print(f"{'method':<32}{'s/step':>8}{'ratio':>7}{'images/s':>10}{'device hours':>14}")
    for name, values in seconds.items():
        step = statistics.median(values)
        hours = images / args.batch_size * step / 3600
        speed = args.batch_size / step
        print(f"{name:<32}{step:>8.3f}{step / first:>7.2f}{speed:>10.1f}{hours:>14.0f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(
        f"{args.student} with {args.teacher}, {args.crop_size} px, batch {args.batch_size}, queue "
        f"{args.queue_size}, {device}; device hours: {args.epochs} epochs of ImageNet's "
        f"{IMAGENET:,} images, loading not counted"
    )


if __name__ == "__main__":
    main()
