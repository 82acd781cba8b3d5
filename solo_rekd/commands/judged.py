"""What the commands that evaluate a checkpoint share."""

import argparse
from pathlib import Path


def encoder_in(args: argparse.Namespace) -> str:
    """Returns the name of the evaluated network, from the flag or else from the checkpoint.

    Raises:
        UserError: neither names it, or the file is no checkpoint.
    """
    if args.encoder is not None:
        return args.encoder
    from solo_rekd.checkpoints.run_settings import read_student, refuse_untold

    path = args.pretrained_feature_extractor
    recorded = read_student(Path(path)).get("encoder")
    if recorded is None:
        raise refuse_untold("encoder", path)
    return recorded


def print_accuracy(name: str, top1: float, top5: float, protocol: str) -> None:
    """Prints the accuracies of an evaluation, in percent."""
    print(f"{name} top-1 {top1:.2f}, top-5 {top5:.2f} ({protocol})")
