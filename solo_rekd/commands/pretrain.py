"""`solo-rekd pretrain`: pretrains with the installed solo-learn."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from solo_rekd import hosts
from solo_rekd.commands import flags, jobs, words
from solo_rekd.config import CONFIGS, PRESET_NAMES, add_flags
from solo_rekd.hosts.jobs import Pretrained, Progress
from solo_rekd.utils.errors import OneLineParser
from solo_rekd.utils.files import refuse_absent

DESCRIPTION = """\
Pretrains a network, with solo-learn 1.0.2 or its main branch.

Flags that are not listed below are settings of the method, or else of the host: --precision 16,
--devices 2 --strategy ddp, --knn_eval, --wandb --project NAME, --auto_resume, --dali. The main
branch also takes its own keys, KEY=VALUE: dotted keys anywhere, others after a bare --.

`solo-rekd pretrain --method NAME --help` shows the settings of one of our methods;
`solo-rekd list --host HOST` names the settings of the host's methods.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that every method has."""
    parser.usage = (
        "solo-rekd pretrain --method NAME --encoder NAME --dataset NAME --data_dir DIR "
        "--optimizer NAME [flags] [KEY=VALUE ...]"
    )
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = flags.group(parser, "method")
    add(
        "--method",
        required=True,
        metavar="NAME",
        help=f"{', '.join(CONFIGS)}, or a method of the host",
    )
    add(
        "--preset",
        metavar="NAME",
        help=f"named settings of the method, which flags override: {', '.join(PRESET_NAMES)}",
    )
    flags.add_network(parser, judged=False)
    flags.add_images(parser, judged=False)
    add = flags.group(parser, "crops; a flag with several values has one per view")
    whole = {"type": int, "nargs": "+", "metavar": "N"}
    real = {"type": float, "nargs": "+", "metavar": "X"}
    add(
        "--no_labels",
        action="store_true",
        help="train on images without classes: --train_dir is a folder with images at any depth, "
        "an index of photos, or a .txt file of paths",
    )
    add("--num_crops_per_aug", **whole, help="crops per image. Default: 2")
    add("--crop_size", **whole, help="side of the crops [px]. Default: 224")
    add("--min_scale", **real, help="least share of the image's area. Default: the host's")
    add("--max_scale", **real, help="largest share of the image's area. Default: 1")
    for name in ("brightness", "contrast", "saturation", "hue"):
        add(f"--{name}", **real, help="strength of the colour jitter")
    for name in ("color_jitter", "gray_scale", "horizontal_flip", "gaussian", "solarization"):
        add(f"--{name}_prob", **real, help="probability, in [0, 1]. Default: the host's")
    flags.add_optimizer(parser, "for a batch of 256", "warmup_cosine")
    add = flags.group(parser, "optimizer of pretraining")
    number = {"type": float, "metavar": "X"}
    add(
        "--classifier_lr",
        **number,
        help="learning rate of the online classifier. Default: the host's",
    )
    add("--warmup_epochs", type=int, metavar="N", help="epochs of warm-up. Default: 10")
    add("--warmup_start_lr", **number, help="rate at its start. Default: the host's, 0.003")
    add("--min_lr", **number, help="rate at the end of a cosine. Default: 0")
    flags.add_run(parser)
    add = flags.group(parser, "an earlier run")
    add(
        "--resume_from_checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint of the run to resume",
    )


def add_given(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Adds the flags that depend on the command line: the method's, and the host's.

    Args:
        parser: parser that has the flags of every method.
        given: words of the command line.
    """
    peek = OneLineParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--method")
    method = peek.parse_known_args([*given])[0].method
    settings = jobs.method_settings(method)
    if settings:
        add_flags(parser, CONFIGS[method], method)
        if not {"-h", "--help"} & {*given}:  # help shows the defaults
            parser.set_defaults(**dict.fromkeys(settings))
    parser.set_defaults(settings=settings)
    words.declare_others(parser, given)


def main(args: argparse.Namespace) -> None:
    """Pretrains, and prints the time taken and the metrics of the last epoch.

    Raises:
        UserError: a setting is not allowed, or the training diverged.
    """
    for name in ("teacher_checkpoint", "student_checkpoint", "resume_from_checkpoint"):
        refuse_absent(name, getattr(args, name, None))
    host = hosts.find(args.host)
    job = jobs.pretraining(args, host.methods())
    flags.prepare_images(args, judged=False)
    title = f"{job.method} {job.network.name}" if args.enable_progress_bar else None
    resume = args.resume_from_checkpoint
    report(host.pretrain(job, jobs.kept_in(args), resume, Progress(title)))


def report(result: Pretrained) -> None:
    """Prints the result of a pretraining."""
    print(
        f"pretrained in {result.seconds:.0f} s, {result.images_per_second:.0f} images/s; "
        f"checkpoint: {result.checkpoint or 'none (add --save_checkpoint)'}"
    )
    for name, value in result.metrics.items():
        if name.endswith("_epoch"):
            print(f"  {name.removesuffix('_epoch'):<28}{value:.4f}")
