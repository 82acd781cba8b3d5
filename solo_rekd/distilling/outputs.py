"""The files that a run produces: missing ones are made, and each is complete or absent."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from solo_rekd.checkpoints.student import read_start
from solo_rekd.compare.collect import describe_versions
from solo_rekd.compare.progress import clock
from solo_rekd.distilling.card import write_card
from solo_rekd.distilling.embedding import WEIGHTS
from solo_rekd.distilling.neighbours import neighbours_of
from solo_rekd.distilling.plan import Plan
from solo_rekd.distilling.quantise import quantise
from solo_rekd.distilling.request import Request
from solo_rekd.distilling.results import Results, figure_lines
from solo_rekd.export import ONNX_PACKAGES, export
from solo_rekd.hosts.jobs import Pretraining
from solo_rekd.images.photos import PhotoIndex
from solo_rekd.utils.errors import UserError, is_installed
from solo_rekd.utils.files import read_json, replacing, write_json
from solo_rekd.utils.log_levels import at_level
from solo_rekd.utils.versions import versions

NETWORK, INT8 = "student.onnx", "student.int8.onnx"
CARD, REPORT, FIGURES = "README.md", "report.html", "figures.json"
REPORT_PACKAGES = ("matplotlib", "jinja2")
LIBRARIES = ("onnx", "onnxruntime")
# settings of the method that are not among the choices, but worth a line in the card
HIDDEN = ("teacher_checkpoint",)


class Made(NamedTuple):
    """Which files are to be made.

    Attributes:
        names: names of the files, in order.
        left_out: why other files are not made, one line each.
    """

    names: list[str]
    left_out: list[str]


def wanted(request: Request) -> Made:
    """Returns which files can be made here, before a run begins."""
    names, left_out = [WEIGHTS], []
    networks = [NETWORK, INT8] if request.int8 else [NETWORK]
    for files, packages, extra in (
        (networks, ONNX_PACKAGES, "onnx"),
        ([REPORT], REPORT_PACKAGES, "compare"),
    ):
        missing = [package for package in packages if not is_installed(package)]
        if missing:
            what = f"{', '.join(missing)} missing (pip install 'solo-rekd[{extra}]')"
            left_out.append(f"{what}: there will be no {' and no '.join(files)}")
        else:
            names += files
    return Made([*names, CARD], left_out)


class Outputs:
    """The files of a run.

    Args:
        request: what was asked for.
        plan: plan of the run.
        job: job of the host.
        checkpoint: checkpoint of the last epoch.
        held_out: photos that were not trained on.
        history: one line per epoch.
        findings: what is wrong with the run.
        out: folder of the run.

    Attributes:
        results: features and figures that the files are made from.
        known_figures: figures on the held-out photos that are already computed.
    """

    def __init__(
        self,
        request: Request,
        plan: Plan,
        job: Pretraining,
        checkpoint: Path,
        held_out: PhotoIndex,
        history: Sequence[Mapping[str, Any]],
        findings: Sequence[str],
        out: Path,
    ) -> None:
        self.request, self.plan, self.job, self.out = request, plan, job, out
        self.history, self.findings, self.checkpoint = history, findings, checkpoint
        self.results = Results(request, job, checkpoint, held_out)
        self.known_figures: dict[str, float] = read_json(out / FIGURES) or {}

    def make(self, made: Made, say: Callable[[str], None]) -> dict[str, Path]:
        """Makes the files that are missing.

        Args:
            made: files to make.
            say: function that prints a line.

        Returns:
            Their paths, by name.

        Raises:
            UserError: a file cannot be written.
        """
        files = {name: self.out / name for name in made.names}
        missing = [name for name, path in files.items() if not path.is_file()]
        # killed between the 8-bit network and its figures
        if INT8 in files and not any(name.startswith("int8") for name in self.known_figures):
            missing = [name for name in made.names if name in (*missing, INT8)]
        # card and report show the figures of the 8-bit network
        if INT8 in missing or not (self.out / FIGURES).is_file():
            missing = [name for name in made.names if name in (*missing, REPORT, CARD)]
        for name in missing:
            if name == INT8 and NETWORK not in files:  # it is made from that
                del files[name]
                continue
            try:
                # the log already described each network when it was built and read
                with at_level("solo_rekd", logging.WARNING):
                    self._make(name, say)
            except UserError as error:
                if name not in (NETWORK, INT8):
                    raise
                say(str(error))  # torch cannot export it to ONNX: the other files are still made
                del files[name]
                continue
            say(f"wrote {files[name]}, {files[name].stat().st_size / 1e6:.1f} MB")
        if not missing:
            say(f"{self.out} is finished: nothing is missing")
        return files

    def _make(self, name: str, say: Callable[[str], None]) -> None:
        path = self.out / name
        if name in (WEIGHTS, NETWORK):
            export(self.checkpoint, path, self._trained())
        elif name == INT8:
            quantise(self.out / NETWORK, path, self.results.calibration())
            figures = self.results.figures_of(path)
            self._know(figures)
            for line in figure_lines(figures):
                say(line)
        elif name == REPORT:
            self._figures(say)
            self._report(path)
        else:
            self._figures(say)
            self._write(path, write_card(self.describe()))

    def _figures(self, say: Callable[[str], None]) -> None:
        names = {name for name in self.known_figures if not name.startswith("int8")}
        if names:
            return
        figures = self.results.figures
        self._know(figures)
        for line in figure_lines(figures):
            say(line)

    def _know(self, figures: Mapping[str, float]) -> None:
        merged = {**self.known_figures, **figures}
        # the student's figures come before those of its 8-bit network
        self.known_figures = dict(sorted(merged.items(), key=lambda item: item[0][:4] == "int8"))
        write_json(self.out / FIGURES, self.known_figures)

    def _report(self, path: Path) -> None:
        from solo_rekd.distilling.report.page import render

        batch = self.results.student
        paths = [self.results.held_out[place] for place in batch.places]
        near = self.results.near if len(paths) > 1 else {}
        self._write(path, render(self.describe(), self.history, paths, batch.features, near))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")

    def _trained(self) -> dict[str, Any]:
        images = self.job.images
        return {
            "encoder": self.request.student,
            "crop_size": self.results.size,
            "stem": self.results.stem,
            "mean": images.mean,
            "std": images.std,
        }

    @functools.cached_property
    def _start(self) -> str:
        """Describes the student's initial weights."""
        path = self.request.student_checkpoint
        if path is None:
            return "random weights"
        _, source = read_start(path, self.request.student, self.results.size)
        return f"{Path(path).name}, {source.format}, SHA-256 {source.sha256}"

    def describe(self) -> dict[str, Any]:
        """Returns what card and report are filled with."""
        seconds = sum(line["seconds"] for line in self.history)
        images = sum(line["images"] for line in self.history)
        last = self.history[-1] if self.history else {}
        signal = ("agreement", "agreement_chance", "agreement_ceiling", "effective_rank")
        shown = {k: str(v) for k, v in self.job.settings.items() if k not in HIDDEN}
        training = {
            "seconds": f"{seconds:.0f} ({clock(seconds)})",
            "images per second": f"{images / max(seconds, 1e-9):.0f}",
            "seed": str(self.request.seed),
            "trained by": ", ".join(
                f"{name} {version}" for name, version in self.plan.host.items() if name != "name"
            ),
        }
        training |= {
            f"{name} after the last epoch": f"{last[name]:.4f}" for name in signal if name in last
        }
        return {
            "student": self._trained()
            | {"name": self.request.student, "features": self.results.student.features.shape[1]}
            | {"start": self._start},
            "teacher": {
                "name": self.request.teacher,
                "file": Path(self.request.teacher_checkpoint).name,
                "sha256": self.plan.teacher["sha256"],
                "line": self.plan.teacher["line"],
            },
            "photos": dict(self.plan.photos) | {"sources": self.plan.asked["photos"]},
            "neighbours": neighbours_of(max(2, self.plan.photos["held_out"])),
            "choices": self.plan.choices,
            "epochs": self.job.epochs,
            "figures": self.known_figures,
            "findings": list(self.findings),
            "training": training,
            "settings": shown,
            "versions": describe_versions({}) | versions(LIBRARIES),
            "files": [path.name for path in self.out.iterdir()],
            "command": self.plan.command,
        }
