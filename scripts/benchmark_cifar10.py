"""Compares methods on an image folder of 32 px files under one budget, several seeds.

Every run is pretraining, linear evaluation and kNN through `solo_rekd`'s commands; its figures are
appended to a file of JSON lines, and a run that is already in that file is skipped.

Usage:
    python scripts/benchmark_cifar10.py --data DIR --out DIR --epochs 20 \
        --runs mocov2plus rekd rekd:dictionary=teacher --seeds 0 1 2
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from solo_rekd import hosts

# The same for every method; the values of MoCo v2+ on CIFAR in the host's recipes, but for the
# blur, which 32 px images do not bear, and a learning rate and queue for a short run.
SHARED = (
    "--dataset custom --train_dir train --val_dir test --encoder alexnet --crop_size 32 "
    "--mean 0.4914 0.4822 0.4465 --std 0.247 0.243 0.261"
)
PRETRAIN = (
    "--brightness 0.4 --contrast 0.4 --saturation 0.4 --hue 0.1 --gray_scale_prob 0.2 "
    "--gaussian_prob 0 --min_scale 0.2 --num_crops_per_aug 2 --optimizer sgd --lr 0.2 "
    "--classifier_lr 0.02 --weight_decay 5e-4 --scheduler warmup_cosine --warmup_epochs 1 "
    "--batch_size 128 --proj_hidden_dim 512 --proj_output_dim 128 --temperature 0.2 "
    "--save_checkpoint --limit_val_batches 0"
)
METHODS = {
    "simclr": "",
    "mocov2plus": "--queue_size 2048 --base_tau_momentum 0.99 --final_tau_momentum 0.999",
    "rekd": "--queue_size 2048 --base_tau_momentum 0.99 --final_tau_momentum 0.999 "
    "--teacher resnet18 --teacher_stem imagenet",
}
LINEAR = "--optimizer sgd --lr 0.02 --scheduler cosine --weight_decay 0 --batch_size 256"


def run(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Pretrains `method[:flag=value,...]` with one seed and evaluates its student."""
    method, _, settings = name.partition(":")
    pairs = [pair for pair in settings.split(",") if pair]
    flags = [part for pair in pairs for part in f"--{pair}".split("=", 1)]
    host = hosts.commands()
    data = [*SHARED.split(), "--data_dir", str(args.data), "--num_workers", str(args.num_workers)]
    seeded = ["--seed", str(seed)]
    trained = host.pretrain(
        [
            *(*data, *PRETRAIN.split(), *METHODS[method].split(), *seeded),
            *("--method", method, "--name", f"{method}-{seed}", "--checkpoint_dir", str(args.out)),
            *("--max_epochs", str(args.epochs), *flags),
        ]
    )
    weights = ["--pretrained_feature_extractor", trained["checkpoint"]]
    knn = host.knn([*data, *weights])
    probe = ["--max_epochs", str(args.linear_epochs)]
    linear = host.linear([*data, *LINEAR.split(), *seeded, *probe, *weights])
    return {
        "name": name,
        "seed": seed,
        "epochs": args.epochs,
        "linear": linear["top1"],
        "knn": knn["top1"],
        "seconds": trained["seconds"],
        "images_per_second": trained["images_per_second"],
        "protocols": [linear["protocol"], knn["protocol"]],
        "metrics": trained["metrics"],
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints mean and standard deviation over the seeds of each name."""
    print(f"{'run':<40}{'seeds':>6}{'linear':>15}{'kNN':>15}{'images/s':>10}")
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        cells = []
        for key in ("linear", "knn"):
            values = [row[key] for row in mine]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):.2f} ± {spread:.2f}")
        speed = statistics.mean(row["images_per_second"] for row in mine)
        print(f"{name:<40}{len(mine):>6}{cells[0]:>15}{cells[1]:>15}{speed:>10.0f}")


def main() -> None:
    """Runs what is missing and prints the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and results.jsonl")
    parser.add_argument("--runs", nargs="+", default=["mocov2plus", "rekd"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--linear_epochs", type=int, default=20)
    parser.add_argument("--num_workers", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.jsonl"

    def finished() -> list[dict[str, Any]]:
        lines = results.read_text().splitlines() if results.exists() else []
        return [row for row in map(json.loads, lines) if row["epochs"] == args.epochs]

    for seed in args.seeds:
        for name in args.runs:
            if not any((row["name"], row["seed"]) == (name, seed) for row in finished()):
                row = run(name, seed, args)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print_table(finished())


if __name__ == "__main__":
    main()
