"""Trains every objective in float32, bfloat16 and float16, and compares the three.

By autocast on the CPU, float16 with a gradient scaler, from the same weights on the same batches.
The rows of a case that is done are kept. The last act is the table of docs/reliability.md.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from bench.page import table, write_between
from study.rows import RESULTS
from torch import Tensor
from torch.utils.data import SequentialSampler

from reliability.numerics_cases import BATCH, CASES, FEATURES, IMAGES, draw_images, make, network
from reliability.rows import Row, add_row, machine, read_rows
from solo_rekd.utils.versions import commit_of

ROOT = Path(__file__).parents[2]
FILE = RESULTS / "reliability-numerics.csv"
PAGE = ROOT / "docs" / "reliability.md"
PLACE = "numerics"
PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
STEPS, LR = 1000, 0.03
WINDOW = 50  # steps, over which a curve is averaged before it is compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--steps", type=int, default=STEPS, help="of each training. Default: %(default)s")
    add("--cases", nargs="*", default=[*CASES], choices=CASES, help="Default: all")
    add("--results", type=Path, default=FILE, metavar="FILE", help="Default: %(default)s")
    add("--page", type=Path, default=PAGE, metavar="FILE", help="Default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Trains what is not done yet, and writes the table; 1 where a training is not finite."""
    commit = commit_of(ROOT) or ""  # of the code that this process has read
    done = {(row["case"], row["steps"]) for row in read_rows(args.results)}
    for case in args.cases:
        if (case, str(args.steps)) not in done:
            for row in trials(case, args.steps):
                add_row(args.results, row | {"commit": commit, "machine": machine()})
    rows = read_rows(args.results)
    if args.page.exists():
        write_between(args.page, PLACE, numbers(rows))
    return int(any(row["finite"] != "yes" for row in rows))


def trials(case: str, steps: int) -> list[Row]:
    """Trains a case in every precision: a row for each."""
    rows: list[Row] = []
    exact: list[float] = []
    for precision in PRECISIONS:
        started = time.perf_counter()
        trained = Training(case, steps, precision)
        trained.run()
        exact = exact or trained.losses
        rows.append(
            {
                "case": case,
                "precision": precision,
                "steps": str(steps),
                "finite": "yes" if trained.is_finite() else "no",
                "first_loss": f"{smooth(trained.losses)[0]:.6g}",
                "last_loss": f"{smooth(trained.losses)[-1]:.6g}",
                "curve_distance": f"{distance(trained.losses, exact):.3g}",
                "largest_gradient": f"{trained.largest:.4g}",
                "skipped_steps": str(trained.skipped),
                "said": str(trained.said),
                "seconds": f"{time.perf_counter() - started:.1f}",
            }
        )
        print(" ".join(rows[-1].values()), flush=True)
    return rows


class Training(logging.Handler):
    """A training of a case in a precision.

    Args:
        case: a key of `CASES`.
        steps: its length.
        precision: a key of `PRECISIONS`.

    Attributes:
        losses: of each step.
        largest: magnitude of any gradient in any step that was not skipped.
        skipped: steps that the gradient scaler left out.
        said: lines of the log by which the package warned of a step.
    """

    def __init__(self, case: str, steps: int, precision: str) -> None:
        super().__init__(logging.WARNING)
        self.steps, self.dtype = steps, PRECISIONS[precision]
        self.images, self.labels = draw_images()
        self.objective = make(case, -(-steps * BATCH // IMAGES), self.images, self.labels)
        torch.manual_seed(2)
        self.student = network(FEATURES)
        self.twin = self.objective.momentum_twin(self.student)
        self.losses: list[float] = []
        self.largest, self.skipped, self.said = 0.0, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Counts a warning of a step."""
        self.said += record.getMessage().startswith("step ")

    def run(self) -> None:
        """Trains."""
        torch.manual_seed(3)
        groups = [{"params": [*self.student.parameters()]}, *self.objective.param_groups(LR)]
        optimizer = torch.optim.SGD(groups, LR, momentum=0.9, weight_decay=1e-4)
        scaler = torch.amp.GradScaler("cpu", enabled=self.dtype is torch.float16)
        log = logging.getLogger("solo_rekd")
        log.addHandler(self)
        try:
            for step, places in zip(range(self.steps), self._places(), strict=False):
                self._step(step, places, optimizer, scaler)
        finally:
            log.removeHandler(self)

    def _places(self) -> Iterator[Tensor]:
        sampler = self.objective.sampler(SequentialSampler(range(IMAGES)), BATCH)
        while True:
            places = torch.tensor([*sampler])
            if type(sampler) is SequentialSampler:
                places = torch.randperm(IMAGES)
            yield from places.split(BATCH)

    def _step(
        self,
        step: int,
        places: Tensor,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        views = [view_of(self.images[places]) for _ in range(2)]
        views, mixed = self.objective.mix(views)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not torch.float32):
            keys = None
            if self.twin is not None:
                with torch.no_grad():
                    keys = [self.twin(view) for view in views]
            loss, _ = self.objective(
                images=views,
                features=[self.student(view) for view in views],
                momentum_features=keys,
                labels=self.labels[places],
                indexes=places,
                epoch=step * BATCH // IMAGES,
                mixed=mixed,
            )
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        found = max(
            float(parameter.grad.abs().max())
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        )
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            self.skipped += 1
        else:
            self.largest = max(self.largest, found) if math.isfinite(found) else found
        self.losses.append(float(loss.detach()))
        self.objective.update_momentum(step / self.steps)

    def is_finite(self) -> bool:
        """Whether every loss is finite, and all that a checkpoint would hold."""
        states = (self.student.state_dict(), self.objective.state_dict())
        tensors = [value for state in states for value in state.values()]
        return all(map(math.isfinite, self.losses)) and all(
            bool(value.isfinite().all()) for value in tensors
        )


def view_of(images: Tensor) -> Tensor:
    """A view by chance: shifted, mirrored, in another brightness, under noise."""
    shift = torch.randint(-4, 5, (2,)).tolist()
    moved = images.roll(shift, (2, 3))
    moved = moved.flip(3) if torch.rand(()) < 0.5 else moved
    return moved * (0.8 + 0.4 * torch.rand(len(images), 1, 1, 1)) + 0.1 * torch.randn(images.shape)


def smooth(losses: Sequence[float]) -> list[float]:
    """The mean of each `WINDOW` steps; of a shorter training one."""
    parts = [losses[start : start + WINDOW] for start in range(0, len(losses), WINDOW)]
    return [sum(part) / len(part) for part in parts]


def distance(losses: Sequence[float], exact: Sequence[float]) -> float:
    """The largest difference of two smoothed curves, in parts of the range of the second."""
    ours, theirs = smooth(losses), smooth(exact)
    largest = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    return largest / max(max(exact) - min(exact), 1e-12)


def numbers(rows: Sequence[Row]) -> str:
    """The table: a line per case."""
    head = (
        *("objective", "last loss, float32", "bfloat16", "float16", "largest gradient"),
        *("skipped by float16", "curve: bfloat16", "float16"),
    )
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        of = {row["precision"]: row for row in rows if row["case"] == case}
        lasts = [shown(of[precision]) for precision in PRECISIONS]
        largest = max(float(row["largest_gradient"]) for row in of.values())
        curves = [f"{float(of[precision]['curve_distance']):.2%}" for precision in ("bf16", "16")]
        lines.append([case, *lasts, f"{largest:.2g}", of["16"]["skipped_steps"], *curves])
    steps = ", ".join(dict.fromkeys(row["steps"] for row in rows))
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows))
    machines = "; ".join(dict.fromkeys(row["machine"] for row in rows))
    said = sum(int(row["said"]) for row in rows)
    return (
        f"{table(head, lines)}\n\nSteps: {steps}. Warnings about a step in the log: {said}. "
        f"Code: commit {commits}. Machine: {machines}."
    )


def shown(row: Row) -> str:
    """A row's last loss, or that it is lost."""
    return f"{float(row['last_loss']):.3f}" if row["finite"] == "yes" else "not finite"
