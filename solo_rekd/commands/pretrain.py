"""`solo-rekd pretrain`: pretrains with whichever solo-learn is there."""

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

A flag that is not below is a setting of the method, else one of the host: --precision 16,
--devices 2 --strategy ddp, --knn_eval, --wandb --project NAME, --auto_resume, --dali. The main
branch takes keys of its own too, KEY=VALUE: those with a dot anywhere, others after a bare --.

`solo-rekd pretrain --method NAME --help` shows the settings of one of our methods, and
`solo-rekd list --host HOST` the names of those of the host's.
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
    add("--method", required=True, metavar="NAME", help=f"{', '.join(CONFIGS)}, or of the host")
    add(
        "--preset",
        metavar="NAME",
        help="named settings of the method, of which each flag that is given wins: "
        f"{', '.join(PRESET_NAMES)}",
    )
    flags.add_network(parser, judged=False)
    flags.add_images(parser, judged=False)
    add = flags.group(parser, "crops; a flag with several values has one for each view")
    whole = {"type": int, "nargs": "+", "metavar": "N"}
    real = {"type": float, "nargs": "+", "metavar": "X"}
    add(
        "--no_labels",
        action="store_true",
        help="the training images have no classes: --train_dir is a folder with images at any "
        "depth, an index of photos, or a .txt file of paths",
    )
    add("--num_crops_per_aug", **whole, help="crops of an image. Default: 2")
    add("--crop_size", **whole, help="their side [px]. Default: 224")
    add("--min_scale", **real, help="least share of the image's area. Default: the host's")
    add("--max_scale", **real, help="largest share of it. Default: 1")
    for name in ("brightness", "contrast", "saturation", "hue"):
        add(f"--{name}", **real, help="strength of the change of colours")
    for name in ("color_jitter", "gray_scale", "horizontal_flip", "gaussian", "solarization"):
        add(f"--{name}_prob", **real, help="probability, in [0, 1]. Default: the host's")
    flags.add_optimizer(parser, "for a batch of 256", "warmup_cosine")
    add = flags.group(parser, "optimizer of pretraining")
    number = {"type": float, "metavar": "X"}
    add("--classifier_lr", **number, help="of the online classifier. Default: the host's")
    add("--warmup_epochs", type=int, metavar="N", help="in which the rate rises. Default: 10")
    add("--warmup_start_lr", **number, help="from which it rises. Default: the host's, 0.003")
    add("--min_lr", **number, help="to which a cosine falls. Default: 0")
    flags.add_run(parser)
    add = flags.group(parser, "an earlier run")
    add("--resume_from_checkpoint", type=Path, metavar="FILE", help="resumes the run that wrote it")


def add_given(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Adds the flags that depend on the command line: of its method, and of its host.

    Args:
        parser: has the flags that every method has.
        given: the words of the command line.
    """
    peek = OneLineParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--method")
    method = peek.parse_known_args([*given])[0].method
    settings = jobs.method_settings(method)
    if settings:
        add_flags(parser, CONFIGS[method], method)
        if not {"-h", "--help"} & {*given}:  # which shows the defaults
            parser.set_defaults(**dict.fromkeys(settings))
    parser.set_defaults(settings=settings)
    words.declare_others(parser, given)


def main(args: argparse.Namespace) -> None:
    """Pretrains, and prints what it took and the means of the last epoch.

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
    """Prints what a pretraining came to."""
    print(
        f"pretrained in {result.seconds:.0f} s, {result.images_per_second:.0f} images/s; "
        f"checkpoint: {result.checkpoint or 'none (add --save_checkpoint)'}"
    )
    for name, value in result.metrics.items():
        if name.endswith("_epoch"):
            print(f"  {name.removesuffix('_epoch'):<28}{value:.4f}")
