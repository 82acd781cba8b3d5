"""`solo-rekd export`: the student alone, for deployment; it needs no host."""

import argparse
from pathlib import Path
from typing import Any

from solo_rekd.config import STEMS

DESCRIPTION = """\
Writes the student of a checkpoint, without projector, momentum twin, teacher and classifiers.
TARGET.safetensors holds its weights under torchvision's or timm's names; TARGET.onnx holds the
whole network, images (N, 3, crop_size, crop_size) to features, for any N.

How the student was trained is read from the checkpoint or, for an older one, from args.json beside
it; flags override that. The exported file keeps it as metadata.
"""
TRAINED = ("encoder", "crop_size", "stem", "mean", "std")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint of a run, or of any format of solo-rekd list"
    )
    parser.add_argument("target", type=Path, help="file to write: .safetensors or .onnx")
    parser.add_argument("--encoder", metavar="NAME", help="name of the student (solo-rekd list)")
    parser.add_argument("--crop_size", type=int, metavar="N", help="side of its images [px]")
    parser.add_argument("--stem", choices=STEMS, help="the student's first layers")
    colours: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
    parser.add_argument("--mean", **colours, help="channel means it was trained with, in [0, 1]")
    parser.add_argument(
        "--std", **colours, help="channel standard deviations it was trained with, in [0, 1]"
    )


def main(args: argparse.Namespace) -> None:
    """Exports, and prints what was written.

    Raises:
        UserError: see `solo_rekd.export.export`.
    """
    from solo_rekd.checkpoints.run_settings import read_student
    from solo_rekd.export import export

    given = {name: value for name in TRAINED if (value := getattr(args, name)) is not None}
    facts = export(args.checkpoint, args.target, read_student(args.checkpoint) | given)
    print(f"wrote {args.target}, {args.target.stat().st_size / 1e6:.1f} MB")
    for name, value in facts.items():
        print(f"  {name:<14}{value}")
