"""Gives the same jobs to both hosts, and says how far their figures are apart.

    python scripts/compare_hosts.py --data DATA --main CHECKOUT --seeds 3

DATA holds train/ and val/, folders of class folders of images. Each job pretrains a student, then
judges it by the host's linear classifier and by kNN. Both hosts draw the same initial weights and
the same crops in the same order.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from solo_rekd import hosts
from solo_rekd.hosts.jobs import (
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    View,
    pretraining_from_json,
    to_json,
)

SIDE = 32  # px
QUEUE = 2048
TEACHER = {"teacher": "resnet18", "teacher_stem": "imagenet", "teacher_warmup_epochs": 0}
KNN = "import sys; from solo_rekd.cli import main; sys.exit(main())"
LOSSES = ("train_nce_loss", "train_relation_loss", "train_teacher_nce_loss")
FIGURES = ("loss", "linear", "kNN")


def make_job(method: str, data: Path, student: str, seed: int, epochs: int) -> Pretraining:
    """A pretraining whose rate is constant: the hosts begin a schedule without a warm-up apart."""
    settings = {"queue_size": QUEUE, "proj_hidden_dim": 2048, "proj_output_dim": 128}
    settings |= {"temperature": 0.2, "base_tau_momentum": 0.99, "final_tau_momentum": 0.999}
    colours = {"mean": (0.491, 0.482, 0.447), "std": (0.247, 0.244, 0.262)}
    view = View(
        **{"min_scale": 0.2, "max_scale": 1.0, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4},
        **{"saturation": 0.4, "hue": 0.1, "grayscale": 0.2, "blur": 0.0, "solarization": 0.0},
        flip=0.5,
    )
    return Pretraining(
        method,
        Network(student),
        Images(f"{data}/train", f"{data}/val", SIDE, **colours, workers=1),
        (view,),
        Optimizer("sgd", lr=0.03, weight_decay=1e-4, schedule="none"),
        batch_size=128,
        epochs=epochs,
        classifier_lr=0.1,
        seed=seed,
        settings=settings | (TEACHER if method == "rekd" else {}),
    )


def run(given: str, job: Pretraining, folder: Path) -> dict[str, float]:
    """Does a job on one host, in this process.

    Args:
        given: the host, as `--host` takes it.
        job: the pretraining.
        folder: for checkpoints and history.

    Returns:
        `FIGURES`: the sum of `LOSSES` in the first epoch, and accuracies in percent.
    """
    host = hosts.find(given)
    history = folder / "history.jsonl"
    done = host.pretrain(job, folder / "checkpoints", None, Progress(history=history))
    optimizer = Optimizer("sgd", lr=0.1, weight_decay=0, schedule="cosine")
    checkpoint = str(done.checkpoint)
    linear = LinearEvaluation(checkpoint, job.network, job.images, optimizer, 128, 5, job.seed)
    first = json.loads(history.read_text().splitlines()[0])
    loss = sum(first[name] for name in LOSSES if name in first)
    top1 = host.linear(linear, None, Progress()).top1
    return {"loss": loss, "linear": top1, "kNN": judge_by_neighbours(job, checkpoint)}


def judge_by_neighbours(job: Pretraining, checkpoint: str) -> float:
    """Top-1 in percent, by the command of the plug-in."""
    data = Path(job.images.train).parent
    argv = f"--encoder {job.network.name} --dataset custom --data_dir {data} --train_dir train "
    argv += f"--val_dir val --crop_size {SIDE} --batch_size 128 --num_workers 1"
    command = [sys.executable, "-c", KNN, "knn", *argv.split()]
    command += ["--pretrained_feature_extractor", checkpoint]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"top-1 ([\d.]+)", said)
    if found is None:
        raise ValueError(said)
    return float(found[1])


def run_apart(given: str, job: Pretraining) -> dict[str, float]:
    """Does a job in a process of its own, for a process holds one `solo`."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--worker", given, json.dumps(to_json(job)), folder]
        subprocess.run(argv, check=True, stdout=sys.stderr, cwd=folder)
        return json.loads((Path(folder) / "figures.json").read_text())


def work(given: str, job: str, folder: str) -> None:
    """Does a job for `run_apart`."""
    figures = run(given, pretraining_from_json(json.loads(job)), Path(folder))
    (Path(folder) / "figures.json").write_text(json.dumps(figures))


def say(method: str, by_host: dict[str, list[dict[str, float]]]) -> None:
    """Prints the mean and the standard deviation of every figure, and the paired difference."""
    classic, main = by_host.values()
    for figure in FIGURES:
        values: dict[str, list[Any]] = {
            name: [each[figure] for each in runs] for name, runs in by_host.items()
        }
        apart = [b[figure] - a[figure] for a, b in zip(classic, main, strict=True)]
        columns = [f"{name} {spread(each)}" for name, each in values.items()]
        print(f"{method} {figure}: {', '.join(columns)}, main - classic {spread(apart)}")


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


def main() -> None:
    """Reads the command line and compares the hosts."""
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--main", required=True, help="a checkout of solo-learn's main branch")
    parser.add_argument("--methods", default="mocov2plus,rekd")
    parser.add_argument("--student", default="alexnet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    for method in args.methods.split(","):
        by_host: dict[str, list[dict[str, float]]] = {"classic": [], "main": []}
        for seed in range(args.seeds):
            job = make_job(method, args.data.absolute(), args.student, seed, args.epochs)
            by_host["classic"].append(run_apart("classic", job))
            by_host["main"].append(run_apart(args.main, job))
            print(method, seed, {name: runs[-1] for name, runs in by_host.items()}, flush=True)
        say(method, by_host)


if __name__ == "__main__":
    main()
