"""The command line of `solo-rekd compare`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from solo_rekd.compare.arms import UNTRAINED
from solo_rekd.compare.judge import JUDGE, JUDGES
from solo_rekd.compare.launch.choose import LAUNCHERS, PROCESSES, read_parameter
from solo_rekd.config import (
    AUTO,
    CONFIGS,
    PRESET_NAMES,
    STEMS,
    STUDENT_CHECKPOINT,
    add_speed_flags,
    parse_side,
)
from solo_rekd.hosts import HOST_HELP
from solo_rekd.hosts.names import DALI_DEVICES
from solo_rekd.hosts.shared.limits import KNN_K, KNN_LIMITS, KNN_TEMPERATURE
from solo_rekd.images.data_sets import MEAN, SMALL_IMAGE, STD
from solo_rekd.images.decoded.flags import add_flags as add_decoded_images
from solo_rekd.utils.errors import OneLineParser, at_least

DESCRIPTION = """\
Compares methods on one image folder: the same student, data, augmentation and budget for all.
Every run is pretraining, the host's linear evaluation, a linear probe on cached features, and kNN.

The same command again resumes where it was stopped, and keeps what is finished; it may add arms
and seeds. Flags of the host after a bare -- go to every pretraining: -- --precision 16
"""
ARMS = f"""\
Arms: {UNTRAINED}, the student without any training, with --student_checkpoint that file's network;
a method of ours, {", ".join(CONFIGS)},
or of the host, such as mocov2plus, simclr, byol, barlow_twins, dino, simsiam, nnclr, vicreg;
or a method with settings of its own (lr for a batch of 256, and those of solo-rekd pretrain
--method NAME --help):
  --methods untrained,mocov2plus,mocov2plus+lr=0.1,rekd+teacher_mode=online+dictionary=teacher
NAME:PRESET is a method with the settings of a preset, {", ".join(PRESET_NAMES)}, and may have
further ones: seed:lightly+lr=0.1
Teachers are frozen, trained once by mocov2plus on the same images, unless an arm says
teacher_mode=online.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; a default of None is one that depends on the images or other options."""
    count, number = at_least(int, 1), at_least(float, 0)
    whole: dict[str, Any] = {"type": count, "metavar": "N"}

    def count_or_auto(text: str) -> str | int:
        return AUTO if text == AUTO else count(text)

    count_or_auto.__name__ = "whole number or auto"
    real: dict[str, Any] = {"type": number, "metavar": "X"}
    parser.usage = "solo-rekd compare --data DIR --out DIR [options] [-- flags of the host]"
    parser.description, parser.epilog = DESCRIPTION, ARMS
    parser.formatter_class = argparse.RawDescriptionHelpFormatter

    def group(title: str) -> Callable[..., Any]:
        return parser.add_argument_group(title).add_argument

    add = group("images")
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the image folders")
    add(
        "--train_dir",
        default="train",
        metavar="NAME",
        help="training images in DIR/NAME/<class>. Default: %(default)s",
    )
    add(
        "--val_dir",
        default="val",
        metavar="NAME",
        help="validation images in DIR/NAME/<class>. Default: %(default)s",
    )
    add(
        "--crop_size",
        type=count,
        metavar="N",
        help=f"side of what the networks see [px]. Default: the images' own up to {SMALL_IMAGE}, "
        "else 224",
    )
    colours: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
    add(
        "--mean",
        **colours,
        default=MEAN,
        help="of the colours, in [0, 1]. Default: ImageNet's",
    )
    add("--std", **colours, default=STD, help="in [0, 1]. Default: the host's")

    add = group("networks (names: solo-rekd list)")
    net = {"metavar": "NAME"}
    add("--student", default="alexnet", **net, help="what every arm trains. Default: %(default)s")
    add("--teacher", default="resnet50", **net, help="what it learns from. Default: %(default)s")
    stem = f"first layers; auto: small up to {SMALL_IMAGE} px. Default: auto"
    add("--stem", choices=STEMS, default="auto", help=f"the student's {stem}")
    add("--teacher_stem", choices=STEMS, default="auto", help=f"the teacher's {stem}")
    add(
        "--teacher_checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the frozen teacher, any format of solo-rekd list. Default: it is trained",
    )
    sees = {"nargs": "+", "metavar": "X", "default": AUTO}
    told = "Default: auto, what the file was trained with"
    add("--teacher_mean", **sees, help=f"mean by which the teacher's images are normalised. {told}")
    add("--teacher_std", **sees, help=f"their deviation. {told}")
    add(
        "--teacher_size",
        type=parse_side,
        default=AUTO,
        metavar="N",
        help="side to which the teacher's views are resized [px]; native: that which the file was "
        "trained at. Default: auto, none",
    )
    add(
        "--student_checkpoint",
        type=Path,
        metavar="FILE",
        help=f"{STUDENT_CHECKPOINT}. Default: random weights",
    )
    add("--teacher_epochs", **whole, help="of its training. Default: --epochs")

    add = group("comparison")
    add(
        "--methods",
        default="untrained,mocov2plus,simclr,rekd",
        metavar="ARM,ARM,...",
        help="what is compared, see below. Default: %(default)s",
    )
    add("--seeds", type=count, default=1, metavar="N", help="runs of an arm. Default: 1")
    add(
        "--first_seed",
        type=at_least(int, 0),
        default=0,
        metavar="N",
        help="of the runs, so that machines can share the seeds. Default: %(default)s",
    )
    add("--host", metavar="HOST", help=HOST_HELP)
    add("--title", default="Comparison", help="of the report. Default: %(default)s")
    add(
        "--judge_by",
        choices=JUDGES,
        default=JUDGE,
        help="accuracy by which the report ranks; few_label: with 3 labels a class. "
        "Default: %(default)s",
    )

    add = group("pretraining, the same for every arm")
    add("--epochs", **whole, default=100, help="of every run. Default: %(default)s")
    add("--batch_size", **whole, default=256, help="[images] Default: %(default)s")
    add("--lr", **real, default=0.3, help="for a batch of 256; SGD. Default: %(default)s")
    add("--weight_decay", **real, default=1e-4, help="Default: %(default)s")
    add(
        "--queue_size",
        type=count_or_auto,
        metavar="N",
        default=AUTO,
        help="[keys] Default: auto, by the number of training images, in whole batches",
    )

    add = group("evaluation")
    add("--linear_epochs", **whole, default=100, help="of the host's harness. Default: %(default)s")
    add("--linear_lr", **real, default=0.1, help="of the host's harness. Default: %(default)s")
    add("--knn_k", **whole, default=KNN_K, help="neighbours. Default: %(default)s")
    votes: dict[str, Any] = {"type": at_least(float, KNN_LIMITS["temperature"][0]), "metavar": "X"}
    add(
        "--knn_temperature", **votes, default=KNN_TEMPERATURE, help="of votes. Default: %(default)s"
    )

    add = group("work")
    add_speed_flags(add)
    add("--out", type=Path, required=True, metavar="DIR", help="folder of runs and report")
    add(
        "--jobs",
        **whole,
        help="runs side by side, one per GPU where there are GPUs; more runs than GPUs share them "
        "in turn. Default: 1, with slurm all",
    )
    add(
        "--launcher",
        choices=LAUNCHERS,
        default=PROCESSES,
        help="processes of this machine; jobs of a SLURM cluster, all of whose machines see DIR; "
        "or local, jobs of this machine in their place, for a trial. Default: %(default)s",
    )
    add(
        "--slurm",
        type=read_parameter,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="of each job: timeout_min, mem_gb, cpus_per_task, gpus_per_node, and those of sbatch, "
        "such as partition or account. Default: timeout_min=1440 gpus_per_node=0",
    )
    add(
        "--num_workers",
        type=at_least(int, 0),
        metavar="N",
        default=2,
        help="processes that load images, of each run; threads of DALI. Default: %(default)s",
    )
    add_decoded_images(add, AUTO)
    add(
        "--skip_broken",
        action="store_true",
        help="decode the images once before the runs, and leave those out of all of them that "
        "cannot be decoded: they are named and counted. Default: such an image ends the comparison",
    )
    add(
        "--dali",
        choices=DALI_DEVICES,
        help="NVIDIA DALI loads the images on that device, with the host's augmentation; without "
        "a GPU on the CPU. Default: torchvision loads them",
    )


def make_parser() -> argparse.ArgumentParser:
    """Makes a parser of the options alone."""
    parser = OneLineParser(prog="solo-rekd compare", allow_abbrev=False)
    add_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Compares; `args.words` is the command line, which the report repeats as it was typed."""
    from solo_rekd.compare.main import main as compare

    compare(args.words)


def read_options(argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Reads the command line.

    Args:
        argv: what follows `solo-rekd compare`.

    Returns:
        The options, and the host's flags, which are what follows a bare `--`.

    Raises:
        UserError: an option is unknown or missing, or its value is not allowed.
    """
    cut = argv.index("--") if "--" in argv else len(argv)
    # another bare -- would make values of the flags that follow it
    extra = tuple(word for word in argv[cut:] if word != "--")
    return make_parser().parse_args(argv[:cut]), extra
