"""The results of a finished training, measured on the held-out photos."""

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from solo_rekd.backbones import build_backbone, settle_stem
from solo_rekd.checkpoints.student import build_student
from solo_rekd.config import DistillationConfig
from solo_rekd.distilling.embedding import Batch, Photos, all_features, on_device, read_network
from solo_rekd.distilling.neighbours import agree, chance, nearest
from solo_rekd.distilling.quantise import CALIBRATED
from solo_rekd.distilling.request import Request
from solo_rekd.export import onnx_network
from solo_rekd.hosts.jobs import Pretraining
from solo_rekd.images.photos import PhotoIndex
from solo_rekd.teachers.build import build_teacher

UNTRAINED, STARTING = "untrained", "starting"  # networks that the student is compared with
ROUND = 4  # digits of a figure


class Results:
    """Each network's features of the held-out photos, and the figures computed from them.

    They are computed on first use.

    Args:
        request: what was asked for.
        job: job of the host.
        checkpoint: checkpoint of the last epoch.
        held_out: the held-out photos.
    """

    def __init__(
        self, request: Request, job: Pretraining, checkpoint: Path, held_out: PhotoIndex
    ) -> None:
        self.request, self.job, self.checkpoint = request, job, checkpoint
        self.held_out = held_out
        self.size = int(job.images.size or 0)
        self.stem = settle_stem(request.student, self.size, job.network.stem)
        self._workers = job.images.workers or 0

    def photos(self, size: int | None = None, **colours: Any) -> Photos:
        """Returns the held-out photos, preprocessed for the student or for another network."""
        mean, std = self.job.images.mean, self.job.images.std
        seen = {"mean": mean, "std": std} | colours
        return Photos(self.held_out, size or self.size, **seen)

    @functools.cached_property
    def student(self) -> Batch:
        """The student's features."""
        network = build_student(self.checkpoint, self.request.student, self.size, self.stem)
        return self._embed(on_device(network), "student")

    @functools.cached_property
    def teacher(self) -> Batch:
        """The teacher's embeddings of the same views, which the student was trained against."""
        names = ("teacher", "teacher_mode", "teacher_checkpoint", "teacher_size")
        given = {name: self.job.settings[name] for name in names}
        given |= {
            name: self.job.settings[name]
            for name in ("teacher_stem", "teacher_mean", "teacher_std", "teacher_precision")
            if name in self.job.settings
        }
        mean, std = self.job.images.mean, self.job.images.std
        teacher = build_teacher(DistillationConfig(**given), self.size, mean, std)
        return self._embed(on_device(_Embeddings(teacher)), "teacher")

    @property
    def other_name(self) -> str:
        """Name of the third network."""
        if self.request.against is not None:
            return Path(self.request.against).name
        return UNTRAINED if self.request.student_checkpoint is None else STARTING

    @functools.cached_property
    def other(self) -> Batch:
        """Features of the network that the student is compared with."""
        if self.request.against is not None:
            read = read_network(Path(self.request.against))
            photos = self.photos(read.size, mean=read.mean, std=read.std)
            return all_features(on_device(read.backbone), photos, self._workers, read.name)
        start = self.request.student_checkpoint
        if start is not None:
            network = build_student(start, self.request.student, self.size, self.stem)
            return self._embed(on_device(network), STARTING)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.request.seed)
            network = build_backbone(self.request.student, self.size, self.stem, "student")
        return self._embed(on_device(self._with_statistics(network)), UNTRAINED)

    @functools.cached_property
    def near(self) -> dict[str, Tensor]:
        """The photos nearest to each, by name: `student`, `teacher`, and the other network's."""
        by = {"teacher": self.teacher, "student": self.student, self.other_name: self.other}
        return {name: nearest(batch.features) for name, batch in by.items()}

    @functools.cached_property
    def figures(self) -> dict[str, float]:
        """Shares of the teacher's nearest photos that are also another network's."""
        if len(self.teacher.places) < 2:
            return {}
        near = self.near
        found = {
            f"agreement of the {name} network"
            if name in (UNTRAINED, STARTING)
            else f"agreement of {name}": agree(near[name], near["teacher"])
            for name in near
            if name != "teacher"
        }
        found["agreement by chance"] = chance(len(self.teacher.places))
        return {name: round(value, ROUND) for name, value in found.items()}

    def figures_of(self, quantised: Path) -> dict[str, float]:
        """Measures how much a quantised network differs from the student.

        Args:
            quantised: its `.onnx` file.
        """
        batch = self._embed(onnx_network(quantised), "int8")
        same = cosine_similarity(batch.features, self.student.features)
        found = {"int8: mean cosine with the student's features": float(same.mean())}
        if len(batch.places) > 1:
            near = nearest(batch.features)
            own = agree(near, self.near["teacher"])
            lost = agree(self.near["student"], self.near["teacher"]) - own
            found |= {"int8: agreement with the teacher": own, "int8: agreement lost": lost}
            found["int8: nearest photos shared with the student"] = agree(
                near, self.near["student"]
            )
        return {name: round(value, ROUND) for name, value in found.items()}

    def calibration(self) -> Tensor:
        """Returns images for calibration, shape (N, 3, size, size)."""
        photos = self.photos()
        items = (photos[place][1] for place in range(len(photos)))
        images = (image for image in items if isinstance(image, Tensor))
        return torch.stack([*itertools.islice(images, CALIBRATED)])

    def _embed(self, network: Callable[[Tensor], Tensor], title: str) -> Batch:
        return all_features(network, self.photos(), self._workers, title)

    @torch.no_grad()
    def _with_statistics(self, network: nn.Module) -> nn.Module:
        """Sets the BatchNorm statistics of an untrained network from the photos."""
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # a mean over all batches
        network.train()
        for batch in self.calibration().split(64):
            if len(batch) > 1:
                network(batch)
        return network


class _Embeddings(nn.Module):
    """A teacher that returns only its embedding."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) to embeddings (B, d)."""
        return self.teacher(images)[1]


def figure_lines(figures: Mapping[str, float]) -> list[str]:
    """Writes the figures as lines of text."""
    return [f"{name}: {value:.3f}" for name, value in figures.items()]
