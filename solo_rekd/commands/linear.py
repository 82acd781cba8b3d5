"""`solo-rekd linear`: a linear classifier on a frozen network, by whichever solo-learn is there."""

import argparse
from collections.abc import Sequence

from solo_rekd import hosts
from solo_rekd.commands import flags, jobs, words
from solo_rekd.commands.judged import encoder_in, print_accuracy
from solo_rekd.hosts.jobs import Network, Progress
from solo_rekd.utils.files import refuse_absent

DESCRIPTION = """\
Evaluates a checkpoint by a linear classifier that is trained on the frozen network's features of
augmented images, with solo-learn 1.0.2 or its main branch. A flag that is not below is the host's,
as in pretraining; so are keys of the main branch, KEY=VALUE.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.usage = (
        "solo-rekd linear --pretrained_feature_extractor FILE --dataset NAME --data_dir DIR "
        "--optimizer NAME [flags] [KEY=VALUE ...]"
    )
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    flags.add_network(parser, judged=True)
    flags.add_images(parser, judged=True)
    flags.add_optimizer(parser, "as it is, whatever the batch", "cosine")
    flags.add_run(parser)


def add_given(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Adds the flags of the host that are on the command line `given`."""
    words.declare_others(parser, given)


def main(args: argparse.Namespace) -> None:
    """Evaluates, and prints the figures with their protocol.

    Raises:
        UserError: a setting is not allowed, the checkpoint does not hold the network, or the
            training diverged.
    """
    refuse_absent("pretrained_feature_extractor", args.pretrained_feature_extractor)
    host = hosts.find(args.host)
    job = jobs.linear_evaluation(args, network_in(args))
    flags.prepare_images(args, judged=True)
    progress = Progress("linear evaluation" if args.enable_progress_bar else None)
    result = host.linear(job, jobs.kept_in(args), progress)
    print_accuracy("linear", result.top1, result.top5, result.protocol)


def network_in(args: argparse.Namespace) -> Network:
    """The network that is evaluated: what the flags leave open, the checkpoint tells.

    Raises:
        UserError: neither names the network, or the checkpoint cannot be read.
    """
    from solo_rekd.checkpoints.student import read_stem

    name, stem = encoder_in(args), args.stem
    if stem == "auto":
        stem = read_stem(args.pretrained_feature_extractor, name)
    return Network(name, stem)
