"""`solo-rekd linear`: a linear classifier on a frozen network, by the installed solo-learn."""

import argparse
from collections.abc import Sequence

from solo_rekd import hosts
from solo_rekd.commands import flags, jobs, words
from solo_rekd.commands.judged import encoder_in, print_accuracy
from solo_rekd.hosts.jobs import Network, Progress
from solo_rekd.utils.files import refuse_absent

DESCRIPTION = """\
Evaluates a checkpoint with a linear classifier, trained on the frozen network's features of
augmented images by solo-learn 1.0.2 or its main branch. Flags that are not listed below go to the
host, as in pretraining; so do keys of the main branch, KEY=VALUE.
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
    flags.add_optimizer(parser, "as given, whatever the batch size", "cosine")
    flags.add_run(parser)


def add_given(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Adds the host's flags that are on the command line `given`."""
    words.declare_others(parser, given)


def main(args: argparse.Namespace) -> None:
    """Evaluates, and prints the accuracies with their protocol.

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
    """Returns the network to evaluate; the checkpoint fills in what the flags leave out.

    Raises:
        UserError: neither names the network, or the checkpoint cannot be read.
    """
    from solo_rekd.checkpoints.student import read_stem

    name, stem = encoder_in(args), args.stem
    if stem == "auto":
        stem = read_stem(args.pretrained_feature_extractor, name)
    return Network(name, stem)
