"""The demo: three methods on real handwritten digits, from pixels to one table, on a CPU.

The images are the 1,797 digits that scikit-learn ships; the same student is trained for the same
epochs by the host's MoCo v2+ and SimCLR and by ReKD, and judged by linear and kNN evaluation.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from solo_rekd import hosts

METHODS = ("mocov2plus", "simclr", "rekd")
STUDENT = "alexnet"
IMAGE_SIZE = 32

DATA = "--dataset custom --train_dir train --val_dir val --num_workers 0"
NORMALISATION = "--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5"
AUGMENTATION = (
    "--brightness 0.4 --contrast 0.4 --saturation 0.2 --hue 0.1 --gray_scale_prob 0.2 "
    "--horizontal_flip_prob 0 --gaussian_prob 0 --min_scale 0.4 --num_crops_per_aug 2"
)
OPTIMISER = "--optimizer sgd --scheduler warmup_cosine --warmup_epochs 1 --weight_decay 1e-4"
PROBE = (
    "--optimizer sgd --lr 0.02 --scheduler cosine --weight_decay 0 --batch_size 128 --max_epochs 10"
)
MOMENTUM = "--base_tau_momentum 0.99 --final_tau_momentum 0.999 --queue_size 1024"
METHOD_FLAGS = {
    "mocov2plus": f"--proj_hidden_dim 512 --temperature 0.2 {MOMENTUM}",
    "simclr": "--proj_hidden_dim 512 --proj_output_dim 128 --temperature 0.2",
    "rekd": f"--proj_hidden_dim 512 --temperature 0.2 {MOMENTUM} --teacher resnet18 "
    "--teacher_stem imagenet --num_prototypes 30 --teacher_warmup_epochs 2",
}


def write_digits(folder: Path) -> None:
    """Writes scikit-learn's digits as an image folder: train/<digit>/ and val/<digit>/, 32 px.

    Args:
        folder: where to; left alone if it is already there.
    """
    if folder.is_dir():
        return
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    unfinished = folder.with_name(f"{folder.name}.unfinished")
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype("uint8")
    indexes = range(len(labels))
    splits = train_test_split(indexes, test_size=0.2, stratify=labels, random_state=0)
    for name, members in zip(("train", "val"), splits, strict=True):
        for index in members:
            path = unfinished / name / str(labels[index]) / f"{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (IMAGE_SIZE, IMAGE_SIZE)
            image = Image.fromarray(pixels[index]).resize(size, Image.Resampling.BICUBIC)
            image.convert("RGB").save(path)
    unfinished.rename(folder)


def flags(folder: Path, *parts: str) -> list[str]:
    """Joins flags with those that every stage shares."""
    shared = f"{DATA} {NORMALISATION} --encoder {STUDENT} --crop_size {IMAGE_SIZE}"
    return [*" ".join((shared, *parts)).split(), "--data_dir", str(folder)]


def run_method(number: int, data: Path, out: Path, epochs: int) -> dict[str, Any]:
    """Pretrains one method and evaluates its student.

    Args:
        number: which of METHODS.
        data: the image folder.
        out: where checkpoints go.
        epochs: epochs of pretraining.

    Returns:
        The table's row.
    """
    method, host = METHODS[number], hosts.commands()

    def announce(stage: int, text: str) -> None:
        print(f"\n[{3 * number + stage}/{3 * len(METHODS)}] {method}: {text}", flush=True)

    announce(1, f"pretraining {STUDENT} for {epochs} epochs")
    trained = host.pretrain(
        [
            *flags(data, AUGMENTATION, OPTIMISER, METHOD_FLAGS[method]),
            *f"--method {method} --name {method} --max_epochs {epochs} --batch_size 64".split(),
            *"--lr 0.12 --classifier_lr 0.02 --save_checkpoint --checkpoint_dir".split(),
            str(out),
        ]
    )
    weights = ["--pretrained_feature_extractor", trained["checkpoint"]]
    announce(2, "linear evaluation")
    linear = host.linear([*flags(data, PROBE), *weights])
    announce(3, "kNN evaluation")
    knn = host.knn([*flags(data, "--batch_size 128"), *weights])
    return {
        "method": method,
        "linear top-1": linear["top1"],
        "kNN top-1": knn["top1"],
        "seconds": trained["seconds"],
        "images/s": trained["images_per_second"],
        "protocols": (linear["protocol"], knn["protocol"]),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints one line a method."""
    print(f"\n{'method':<12}{'linear top-1':>14}{'kNN top-1':>11}{'seconds':>9}{'images/s':>10}")
    for row in rows:
        print(
            f"{row['method']:<12}{row['linear top-1']:>14.2f}{row['kNN top-1']:>11.2f}"
            f"{row['seconds']:>9.0f}{row['images/s']:>10.0f}"
        )
    for protocol in rows[0]["protocols"]:
        print(protocol)


def main(argv: list[str]) -> None:
    """Runs the demo from the command line."""
    parser = argparse.ArgumentParser(prog="solo-rekd demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="data and checkpoints")
    parser.add_argument("--epochs", type=int, default=4, help="of pretraining, a method")
    args = parser.parse_args(argv)
    started = time.perf_counter()
    write_digits(args.out / "digits")
    rows = []
    for number in range(len(METHODS)):
        rows.append(run_method(number, args.out / "digits", args.out, args.epochs))
    print_table(rows)
    print(f"{time.perf_counter() - started:.0f} s in all; checkpoints in {args.out}")
