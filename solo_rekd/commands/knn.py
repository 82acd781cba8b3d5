"""`solo-rekd knn`: nearest neighbours on a frozen network's features; it needs no host."""

import argparse
from typing import TYPE_CHECKING

from solo_rekd.commands import flags
from solo_rekd.commands.judged import encoder_in, print_accuracy
from solo_rekd.config import add_speed_flags
from solo_rekd.hosts.jobs import Images, Network
from solo_rekd.hosts.shared.limits import KNN_K, KNN_LIMITS, KNN_TEMPERATURE
from solo_rekd.utils.cores import cores
from solo_rekd.utils.files import refuse_absent

if TYPE_CHECKING:
    from solo_rekd.evaluation.features import Judgement

DESCRIPTION = """\
Evaluates a checkpoint by a weighted vote of nearest neighbours (arXiv 1805.01978) on features of
images without augmentation. It needs solo-learn only for networks that only solo-learn builds.
"""
BATCH_SIZE, WORKERS = 256, 4  # at most; the results depend on neither


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    flags.add_network(parser, judged=True)
    flags.add_images(parser, judged=True)
    add = flags.group(parser, "vote")
    add(
        "--k",
        type=int,
        default=KNN_K,
        metavar="N",
        help="number of neighbours. Default: %(default)s",
    )
    add(
        "--temperature",
        type=float,
        default=KNN_TEMPERATURE,
        metavar="X",
        help="temperature of the votes. Default: %(default)s",
    )
    add = flags.group(parser, "run")
    add("--batch_size", type=int, default=BATCH_SIZE, metavar="N", help="images per batch")
    add_speed_flags(add, compiles=False)
    add("--host", metavar="HOST", help=f"for networks that only a host builds: {flags.HOST_HELP}")


def main(args: argparse.Namespace) -> None:
    """Evaluates, and prints the accuracies with their protocol; raises as `judge` does."""
    knn = judge(args).knn
    print_accuracy("kNN", knn["top1"], knn["top5"], knn["protocol"])


def judge(args: argparse.Namespace) -> "Judgement":
    """Evaluates.

    Raises:
        UserError: a setting is not allowed, or the checkpoint does not hold the network.
    """
    flags.refuse_numbers(vars(args), KNN_LIMITS)
    refuse_absent("pretrained_feature_extractor", args.pretrained_feature_extractor)
    train, val = flags.folders(args, judged=True)
    from solo_rekd.backbones import is_known
    from solo_rekd.evaluation.features import judge_features
    from solo_rekd.hosts.backbones import builder

    network = Network(encoder_in(args), args.stem)
    images = Images(
        train=train,
        val=val,
        size=args.crop_size,
        mean=None if args.mean is None else tuple(args.mean),
        std=None if args.std is None else tuple(args.std),
        dataset=args.dataset,
        resize_to=args.resize_to,
        workers=min(WORKERS, cores()) if args.num_workers is None else args.num_workers,
    )
    flags.prepare_images(args, judged=True)
    return judge_features(
        args.pretrained_feature_extractor,
        network,
        images,
        batch_size=args.batch_size,
        k=args.k,
        temperature=args.temperature,
        memory_format=args.memory_format,
        host_backbone=None if is_known(network.name) else builder(args.host),
    )
