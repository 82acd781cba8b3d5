"""One run of a comparison, in a process of its own: `python -m solo_rekd.compare.worker FOLDER`.

It reads `job.json` in the folder and writes there `conditions.json`, the checkpoints,
`history.jsonl`, `progress.json`, `embeddings.npz` and, last of all, `result.json`.
"""

import argparse
import dataclasses
import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from solo_rekd import hosts
from solo_rekd.checkpoints import read_checkpoint
from solo_rekd.compare.collect import (
    describe_loader,
    describe_machine,
    describe_resizing,
    describe_versions,
)
from solo_rekd.compare.conditions import begin
from solo_rekd.compare.typed import knn_command, repeatable
from solo_rekd.config import AUTO
from solo_rekd.evaluation.features import judge_features
from solo_rekd.evaluation.few_labels import few_labels
from solo_rekd.evaluation.linear_probe import linear_probe
from solo_rekd.hosts.jobs import (
    Host,
    LinearEvaluation,
    Pretraining,
    Progress,
    linear_from_json,
    pretraining_from_json,
)
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.hosts.shared.saved import CHECKPOINTS, epoch_of, newest_whole, remove_others
from solo_rekd.images.broken import skip_broken
from solo_rekd.images.decoded.chosen import Chosen, choose
from solo_rekd.utils.errors import UserError, report
from solo_rekd.utils.files import read_json_lines, replacing, write_json

EMBEDDED = 2000  # images in embeddings.npz, at most
# approximate cost of an epoch: two crops forward and backward, or one forward
PRETRAIN_EPOCH, LINEAR_EPOCH, FEATURES = 8, 1, 2

_log = logging.getLogger("solo_rekd")


class StageProgress:
    """Keeps a file with the run's progress, written once a second and when a stage begins.

    Args:
        path: the file.
        weights: weight of every stage in order, about proportional to its time.
    """

    def __init__(self, path: Path, weights: Mapping[str, float]) -> None:
        self.path, self.weights = path, weights
        self.started = time.perf_counter()

    def of(self, stage: str, share: float = 0.0) -> Callable[[float], None]:
        """Begins a stage.

        Args:
            stage: its name.
            share: share of it that is already done, in [0, 1].

        Returns:
            A function that takes the share of the stage that is done.
        """
        stages = list(self.weights)
        before = sum(self.weights[name] for name in stages[: stages.index(stage)])

        written = -math.inf

        def tell(share: float) -> None:
            nonlocal written
            seconds = time.perf_counter() - self.started
            if seconds - written >= 1:
                written = seconds
                done = (before + share * self.weights[stage]) / sum(self.weights.values())
                told = {"stage": stage, "done": done, "seconds": seconds}
                write_json(self.path, told, sync=False)

        tell(share)
        return tell


def work(folder: Path) -> None:
    """Runs the job of a folder to its `result.json`.

    A finished pretraining is not repeated; an unfinished one resumes from its newest checkpoint.

    Args:
        folder: holds `job.json`: `host`, the folder of its package; `pretrain`, a job or null;
            `checkpoint`, what to evaluate where nothing is pretrained; `teacher_sha256`, of the
            given or shared teacher's file, or null; `student_sha256`, of the file that the student
            starts from, or null; `linear`, a job without a checkpoint; `knn`, k and temperature;
            `decoded_images`, see `Chosen`, of each folder that has them; `skip_broken`, whether
            broken images are left out.

    Raises:
        UserError: a setting of the job is wrong, a given file has changed, or the run began with
            other settings.
    """
    stored = json.loads((folder / "job.json").read_text())
    host = hosts.find(stored["host"])
    decoded = {root: Chosen(*each) for root, each in stored["decoded_images"].items()}
    choose(decoded)
    if stored.get("skip_broken"):
        skip_broken()
    job = pretraining_from_json(stored["pretrain"]) if stored["pretrain"] else None
    linear = linear_from_json(stored["linear"])
    weights = {
        "pretrain": PRETRAIN_EPOCH * job.epochs if job else 0,
        "features": FEATURES,
        "linear": LINEAR_EPOCH * linear.epochs,
        "done": 0,
    }
    progress = StageProgress(folder / "progress.json", weights)
    teacher = student = stored["checkpoint"]
    if job:
        teacher, student = job.settings.get("teacher_checkpoint"), job.student_checkpoint
    refuse_replaced(stored["teacher_sha256"], teacher)
    refuse_replaced(stored.get("student_sha256"), student)
    resumes = newest_whole((folder / "pretrain").glob(CHECKPOINTS)) is not None
    conditions = begin(
        folder,
        host.check(job) if job else None,
        (job or linear).images.workers or 0,
        resumes,
        {
            **describe_versions(host.versions()),
            **describe_machine(torch.get_num_threads()),
            **describe_loader((job or linear).images.dali),
            **describe_resizing(any(each.tensors for each in decoded.values())),
        },
    )
    checkpoint, pretrained = stored["checkpoint"], None
    if job:
        checkpoint, pretrained = pretrain(folder, host, job, progress)
    content, digest = read_checkpoint(checkpoint)
    linear = dataclasses.replace(linear, checkpoint=str(checkpoint))
    on_features = evaluate_features(folder, linear, stored["knn"], progress.of("features"))
    on_images = evaluate_images(host, linear, progress.of("linear"))
    result = {
        "pretrain": pretrained,
        "linear_host": on_images,
        **on_features,
        # a comparison may be moved as a whole
        "checkpoint": str(checkpoint.relative_to(folder) if job else checkpoint),
        "checkpoint_sha256": digest,
        "teacher_sha256": teacher_of(content) if job else None,
        "conditions": conditions,
    }
    progress.of("done")
    write_json(folder / "result.json", result)


def refuse_replaced(expected: str | None, path: str | None) -> None:
    """Refuses a file that was replaced after the comparison began.

    Args:
        expected: SHA-256 of the file when the comparison began; None: there is no such file.
        path: the file.

    Raises:
        UserError: the file was replaced or is missing.
    """
    if expected is None:
        return
    if path is None or read_checkpoint(path)[1] != expected:
        raise UserError(f"{path} has changed since its comparison began: restore it")


def teacher_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Returns the SHA-256 of the student's teacher's file, as the checkpoint records it."""
    return checkpoint.get("solo_rekd", {}).get("teacher", {}).get("sha256")


def pretrain(
    folder: Path, host: Host, job: Pretraining, progress: StageProgress
) -> tuple[Path, dict[str, Any]]:
    """Pretrains or resumes, if needed.

    Args:
        folder: folder of the run.
        host: host that trains.
        job: what to train.
        progress: progress of the run.

    Returns:
        The checkpoint of the last epoch, and the cost of all parts of the training together.
    """
    history, checkpoints = folder / "history.jsonl", folder / "pretrain"
    newest = newest_whole(checkpoints.glob(CHECKPOINTS))
    done = epoch_of(newest) + 1 if newest else 0
    share = progress.of("pretrain", done / job.epochs)
    if done < job.epochs:
        title = f"{job.method} {job.network.name}"
        host.pretrain(job, checkpoints, newest, Progress(title, share, history))
        newest = newest_whole(checkpoints.glob(CHECKPOINTS))
    if newest is None:
        raise UserError(f"{checkpoints} holds no checkpoint after the pretraining")
    remove_others(checkpoints, newest)
    lines = read_json_lines(history)
    seconds = sum(line["seconds"] for line in lines)
    gpu = [line["peak_gpu_bytes"] for line in lines if "peak_gpu_bytes" in line]
    return newest, {
        "seconds": seconds,
        "images_per_second": sum(line["images"] for line in lines) / seconds,
        "epochs": job.epochs,
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in lines),
        "peak_gpu_bytes": max(gpu, default=None),
        "command": repeatable(host.command(job)),
    }


def evaluate_features(
    folder: Path, job: LinearEvaluation, votes: Mapping[str, Any], share: Callable[[float], None]
) -> dict[str, Any]:
    """Evaluates on features that are extracted once, and keeps some of them.

    Args:
        folder: folder of the run, where `embeddings.npz` is written.
        job: job with the checkpoint, network and images.
        votes: `k` and `temperature` of the vote.
        share: function that takes the share done, in [0, 1].

    Returns:
        The results `knn`, whose seconds include the extraction, `linear_cached`, and those of
        `few_labels`.
    """
    started = time.perf_counter()
    splits, knn = judge_features(
        job.checkpoint,
        job.network,
        job.images,
        batch_size=job.batch_size,
        **votes,
        memory_format=job.host.get("memory_format", AUTO),
        progress=share,
    )
    took = {
        "seconds": time.perf_counter() - started,
        "command": repeatable(knn_command(job, votes)),
    }
    knn |= took
    started = time.perf_counter()
    train, val = ((split.features.numpy(), split.labels.numpy()) for split in splits.values())
    probe = linear_probe(train, val)
    probe["seconds"] = time.perf_counter() - started
    keep_embeddings(folder / "embeddings.npz", *splits["val"])
    return {"linear_cached": probe, "knn": knn, **few_labels(train, val)}


def evaluate_images(
    host: Host, job: LinearEvaluation, share: Callable[[float], None]
) -> dict[str, Any]:
    """Evaluates with the host's linear classifier on augmented images.

    Args:
        host: host that evaluates.
        job: what to evaluate.
        share: function that takes the share done, in [0, 1].
    """
    started = time.perf_counter()
    accuracy = host.linear(job, None, Progress("linear evaluation", share))
    took = {"seconds": time.perf_counter() - started, "command": repeatable(host.command(job))}
    return dataclasses.asdict(accuracy) | took


def keep_embeddings(path: Path, features: Any, labels: Any, classes: list[str]) -> None:
    """Writes some of the validation images' features, the same images for every run.

    Args:
        path: the file: `features` (M, f), float16 of unit length, `labels` (M,) and `classes`.
        features: shape (N, f), not normalised.
        labels: shape (N,).
        classes: the name of each label.
    """
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), EMBEDDED)).round().astype(int)
    units = normalize(features[chosen]).numpy().astype(np.float16)
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, features=units, labels=labels[chosen].numpy(), classes=np.array(classes))


def reason(error: Exception) -> str:
    """Returns an error in one line: its first line, and its last, which may hold the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ends = [lines[0], lines[-1]] if len(lines) > 1 else lines
    return f"{type(error).__name__}: {' ... '.join(ends)}"


def main() -> int:
    """Runs one job; returns the exit code: 2 after a user's mistake, 1 after any other error."""
    parser = argparse.ArgumentParser(prog="python -m solo_rekd.compare.worker")
    parser.add_argument("folder", type=Path, help="folder of the run, with job.json in it")
    args = parser.parse_args()
    # printed lines must reach the log before later errors
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(format="%(message)s")
    _log.setLevel(logging.INFO)
    try:
        work(args.folder)
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is not None:
            return report(mistake)
        traceback.print_exc()
        print(reason(error), file=sys.stderr)  # the parent process shows the log's last line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
