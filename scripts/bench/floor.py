"""The floor of a step: the networks alone, without a host, a loss or an optimiser."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.cases import Arm, Case
from bench.timing import in_turns, seconds
from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector

HEAD = (2048, 128)  # hidden and last width of every projector, see `host_step`
FORMATS = {"default": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass
class Floor:
    """The arithmetic that a method cannot do without, in a raw loop.

    Attributes:
        arm: its method.
        student: forward and backward on each view.
        teacher: forward on both views in one batch, in inference mode; None: the method runs none.
        images: two views, each of shape (B, 3, H, W), on the device, in the student's format.
        taught: both views in one batch, in the teacher's format.
        heads: the projectors of student and teacher; the latter None where no teacher runs.
        features: of each view, what the student's projector takes.
    """

    arm: Arm
    student: nn.Module
    teacher: nn.Module | None
    images: list[Tensor]
    taught: Tensor
    heads: tuple[nn.Module, nn.Module | None]
    features: list[Tensor]

    def run(self) -> dict[str, float]:
        """Seconds of each part, done once.

        Returns:
            `student` and `teacher`, whose sum is the floor; `heads`, the student's projector there
            and back and the teacher's forward, where the method has them; `twin` where the loss
            reads the momentum twin's features; `online` for what a jointly trained teacher needs
            beyond its forward: its backward and its momentum twin's forward.
        """
        device = self.taught.device
        parts = {"student": seconds(self.step, device)}
        if self.teacher is not None:
            parts["teacher"] = seconds(self.teach, device)
        if self.arm.heads:
            parts["heads"] = seconds(self._project, device)
        if self.arm.twin:
            parts["twin"] = seconds(lambda: self._look(self.student, self.images), device)
        if self.arm.teacher == "online":
            parts["online"] = seconds(self._teach_online, device) - parts["teacher"]
        return parts

    def step(self) -> None:
        """The student's forward and backward on each view."""
        self._train(self.student, self.images)

    @torch.inference_mode()
    def teach(self) -> None:
        """The teacher's forward on both views in one batch."""
        assert self.teacher is not None
        self.teacher.eval()(self.taught)

    def _project(self) -> None:
        students, teachers = self.heads
        self._train(students, self.features)
        if teachers is not None:
            with torch.inference_mode():
                teachers(torch.cat(self.features)[:, :1].expand(-1, _width(teachers)))

    def _teach_online(self) -> None:
        assert self.teacher is not None
        views = [*self.taught.chunk(2)]
        self._train(self.teacher, views)
        self._look(self.teacher, views)

    def _train(self, network: nn.Module, views: list[Tensor]) -> None:
        """One view at a time, as the hosts do it, for BatchNorm sees one then."""
        network.train().zero_grad(set_to_none=True)
        torch.stack([network(view).mean() for view in views]).sum().backward()

    @torch.no_grad()
    def _look(self, network: nn.Module, views: list[Tensor]) -> None:
        network.train()
        for view in views:
            network(view)


def make_floor(case: Case, arm: Arm, formats: dict[str, str], device: torch.device) -> Floor:
    """Builds the networks of a floor, with random weights.

    Args:
        case: the sizes.
        arm: decides whether there is a teacher.
        formats: of `student` and `teacher`, a key of `FORMATS` each.
        device: where it runs.
    """
    student_format, teacher_format = (FORMATS[formats[name]] for name in ("student", "teacher"))
    student = build_backbone(case.student, case.side, case.stem).to(
        device, memory_format=student_format
    )
    teacher = None
    if arm.teacher in ("frozen", "online"):
        teacher = build_backbone(case.teacher, case.side).to(device, memory_format=teacher_format)
    images = torch.randn(2 * case.batch, 3, case.side, case.side, device=device)
    views = [view.contiguous(memory_format=student_format) for view in images.chunk(2)]
    width = int(student.num_features)
    students = two_layer_projector(width, *HEAD).to(device)
    teachers = None
    if teacher is not None:
        teachers = two_layer_projector(int(teacher.num_features), *HEAD).to(device)
    features = [torch.randn(case.batch, width, device=device, requires_grad=True) for _ in range(2)]
    taught = images.contiguous(memory_format=teacher_format)
    return Floor(arm, student, teacher, views, taught, (students, teachers), features)


def _width(projector: nn.Module) -> int:
    return int(next(projector.parameters()).shape[1])


def compare_formats(case: Case, rounds: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Times the student's step and the teacher's forward in each memory format, in turns.

    Returns:
        For `student` and `teacher`, the median seconds by format.
    """
    both = Arm("", teacher="frozen")
    works: dict[str, Callable[[], None]] = {}
    for name in FORMATS:
        floor = make_floor(case, both, dict.fromkeys(("student", "teacher"), name), device)
        works |= {f"student {name}": floor.step, f"teacher {name}": floor.teach}
    taken = in_turns(works, rounds, device)
    return {
        part: {name: taken[f"{part} {name}"] for name in FORMATS} for part in ("student", "teacher")
    }


def faster(formats: dict[str, dict[str, float]]) -> dict[str, str]:
    """The faster format of `student` and `teacher`."""
    return {part: min(each, key=lambda name: each[name]) for part, each in formats.items()}
