"""A comparison such as `solo-rekd compare` collects, with figures from a random generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("mocov2plus", "simclr", "rekd", "disco", "seed", "compress", "crcd")
CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


def make_arm(name: str) -> dict[str, Any]:
    method, *settings = name.split("+")
    return {"name": name, "method": method, "settings": dict(s.split("=") for s in settings)}


def make_run(arm: str, seed: int, level: float, epochs: int) -> dict[str, Any]:
    """Makes a finished run that reaches about `level` percent."""
    rng = np.random.default_rng([seed, *arm.encode()])

    def accuracy(top1: float) -> dict[str, float]:
        return {"top1": float(top1 + rng.normal(0, 0.4)), "top5": float(98 + rng.normal(0, 0.1))}

    history = []
    for epoch in range(epochs):
        reached = level * (1 - 0.7 * np.exp(-4 * epoch / epochs)) + rng.normal(0, 0.5)
        line = {"epoch": epoch, "seconds": 9.5, "images": 10000, "train_acc1": float(reached - 8)}
        if arm.startswith("rekd"):
            line["train_relation_purity"] = float(0.1 + 0.006 * reached)
            line["train_active_prototypes"] = float(100 - 40 * np.exp(-epoch))
        history.append(line)
    folder = f"runs/{arm}/seed-{seed}"
    return {
        "arm": arm,
        "seed": seed,
        "folder": folder,
        "history": history,
        "pretrain": {
            "seconds": 9.5 * epochs + float(rng.normal(60 if arm in ARMS[:2] else 400, 10)),
            "images_per_second": float(rng.normal(1000, 20)),
            "epochs": epochs,
            "peak_memory_bytes": int(rng.normal(1.2e9, 1e7)),
            "peak_gpu_bytes": None,
            "command": f"solo-rekd pretrain --dataset custom --method {arm} --seed {seed}",
        },
        "linear_host": accuracy(level)
        | {"protocol": "linear: the host's harness, 10 epochs", "seconds": 50.0}
        | {"command": f"solo-rekd linear --pretrained_feature_extractor {folder}/last.ckpt"},
        "linear_cached": accuracy(level - 1)
        | {"protocol": "linear, cached: features of the centre crop, L-BFGS", "seconds": 8.0},
        "knn": accuracy(level - 6)
        | {"protocol": "kNN: cosine, weighted", "k": 20, "temperature": 0.07, "seconds": 4.0}
        | {"command": f"solo-rekd knn --pretrained_feature_extractor {folder}/last.ckpt"},
        "few_label": accuracy(level - 30) | {"protocol": "few labels: 3 a class"},
        "few_label_1pct": accuracy(level - 35) | {"protocol": "few labels: 1 %"},
        "checkpoint": f"{folder}/pretrain/last.ckpt",
    }


def write_embeddings(folder: Path, seed: int, classes: Sequence[str], images: int = 400) -> None:
    """Writes normalised features in which every class is a cluster."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % len(classes)
    features = rng.normal(0, 1, (images, 16)) + rng.normal(0, 2, (len(classes), 16))[labels]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    folder.mkdir(parents=True)
    np.savez(
        folder / "embeddings.npz",
        features=features.astype("float16"),
        labels=labels.astype("int64"),
        classes=np.array(classes),
    )


def make_comparison(
    out: Path,
    arms: Sequence[str] = ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 20,
    classes: Sequence[str] = CLASSES,
    images: int = 400,
) -> dict[str, Any]:
    """Makes a comparison in which every run has finished, and a frozen teacher was trained.

    Args:
        out: where the runs' embeddings are written.
        arms: the arms' names.
        seeds: of each arm.
        epochs: of pretraining.
        classes: of the images.
        images: embeddings of a run.
    """
    runs = []
    for number, arm in enumerate(arms):
        for seed in seeds:
            runs.append(make_run(arm, seed, 66 + 1.3 * number, epochs))
            write_embeddings(out / runs[-1]["folder"], 10 * number + seed, classes, images)
    return {
        "title": "alexnet with a resnet50 teacher on CIFAR-10",
        "command": f"solo-rekd compare --data cifar --methods {','.join(arms)}",
        "protocol": {
            "data": "CIFAR-10",
            "training images": 10000,
            "validation images": 10000,
            "student": "alexnet",
            "teacher": "resnet50",
            "teacher mode": "frozen",
            "epochs": epochs,
            "batch size": 256,
            "crop size": 32,
            "optimiser": "sgd, lr 0.06, weight decay 0.0001",
        },
        "machine": {"processor": "x86_64, 2 cores", "memory": "16 GiB", "GPU": "none"},
        "versions": {"solo-rekd": "0.3.0", "solo-learn": "1.0.2", "torch": "2.11.0"},
        "classes": list(classes),
        "networks": {
            "student": {
                "name": "alexnet",
                "parameters": 2_469_696,
                "macs": 56_000_000,
                "latency_ms": 3.4,
            },
            "teacher": {
                "name": "resnet50",
                "parameters": 23_500_352,
                "macs": 1_300_000_000,
                "latency_ms": 41.0,
            },
            "latency_protocol": "median of 30 forward passes of one image, one thread",
            "input_size": 32,
        },
        "arms": [make_arm(name) for name in arms],
        "seeds": list(seeds),
        "runs": runs,
        "teacher": make_run("teacher", 0, 78, epochs),
        "differences": [],
        "failed": [],
        "unfinished": [],
    }
