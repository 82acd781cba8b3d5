"""Image folders and teachers of the study, made once in its folder."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.plan import Plan

SCRIPTS = Path(__file__).parents[1]


def prepare_images(plan: Plan, dataset: str, sources: Mapping[str, Path], work: Path) -> Path:
    """Links the images of every split of a data set.

    Args:
        plan: the study.
        dataset: one of its data sets.
        sources: folders with the images, by the name that the plan has for them.
        work: folder of the study.

    Returns:
        The folder with the splits.

    Raises:
        SystemExit: the folder of the images was not given, or lacks one of a split.
    """
    settings = plan.content["datasets"][dataset]
    for split, taken in settings["splits"].items():
        target = work / "data" / dataset / split
        if target.exists():
            continue
        source = sources.get(name := settings["source"])
        if source is None:
            raise SystemExit(f"{dataset} is not prepared: give its images by --data {name}=DIR")
        options = {name: taken[name] for name in ("start", "number") if name in taken}
        _make(target, "take_images.py", source / taken["of"], options)
    return work / "data" / dataset


def prepare_teacher(
    plan: Plan, teacher: str, dataset: str, files: Mapping[str, Path], work: Path
) -> Path:
    """Gives the file of a teacher, which is made where the plan says how.

    Args:
        plan: the study.
        teacher: one of its teachers.
        dataset: on whose training images the PCA is made, if any.
        files: of teachers that are there.
        work: folder of the study, with the images of `dataset`.

    Raises:
        SystemExit: the file was not given, or could not be made.
    """
    if teacher in files:
        return files[teacher].resolve()
    target = work / "teachers" / f"{teacher}-{dataset}.pth"
    size = plan.content["teachers"][teacher].get("lite")
    if size is None:
        raise SystemExit(f"teacher {teacher}: give its weights by --teacher_file {teacher}=FILE")
    if not target.exists():
        images = work / "data" / dataset / "train"
        _make(target, "take_lite_teacher.py", images, {"size": size})
    return target


def _make(target: Path, script: str, source: Path, options: Mapping[str, Any]) -> None:
    """Lets a script make a folder or a file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command: Sequence[str] = [sys.executable, str(SCRIPTS / script), str(source), str(unfinished)]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SystemExit(f"{script} {source}: {reason}")
    unfinished.rename(target)
