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
Compares methods on one image folder, with the same student, data, augmentation and budget for all.
Every run is a pretraining, the host's linear evaluation, a linear probe on cached features, and
kNN.

The same command resumes an interrupted comparison and keeps finished runs; it may add arms and
seeds. The host's flags after a bare -- go to every pretraining: -- --precision 16
"""
ARMS = f"""\
An arm is {UNTRAINED}, the student without any training (or the network of --student_checkpoint);
one of our methods: {", ".join(CONFIGS)};
one of the host's, such as mocov2plus, simclr, byol, barlow_twins, dino, simsiam, nnclr, vicreg;
or a method with settings (lr for a batch of 256, and those of solo-rekd pretrain --method NAME
--help):
  --methods untrained,mocov2plus,mocov2plus+lr=0.1,rekd+teacher_mode=online+dictionary=teacher
NAME:PRESET is a method with the settings of a preset ({", ".join(PRESET_NAMES)}); more settings
may follow: seed:lightly+lr=0.1
Teachers are frozen, and trained once by mocov2plus on the same images, unless an arm has
teacher_mode=online.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; a default of None depends on the images or other options."""
    count, number = at_least(int, 1), at_least(float, 0)
    whole: dict[str, Any] = {"type": count, "metavar": "N"}

    def count_or_auto(text: str) -> str | int:
        return AUTO if text == AUTO else count(text)

    count_or_auto.__name__ = "whole number or auto"
    real: dict[str, Any] = {"type": number, "metavar": "X"}
    parser.usage = "solo-rekd compare --data DIR --out DIR [options] [-- host's flags]"
    parser.description, parser.epilog = DESCRIPTION, ARMS
    parser.formatter_class = argparse.RawDescriptionHelpFormatter

    def group(title: str) -> Callable[..., Any]:
        return parser.add_argument_group(title).add_argument

    add = group("images")
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds --train_dir and --val_dir",
    )
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
        help=f"side of the networks' images [px]. Default: the images' own up to {SMALL_IMAGE}, "
        "else 224",
    )
    colours: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
    add(
        "--mean",
        **colours,
        default=MEAN,
        help="channel means, in [0, 1]. Default: ImageNet's",
    )
    add(
        "--std",
        **colours,
        default=STD,
        help="channel standard deviations, in [0, 1]. Default: the host's",
    )

    add = group("networks (names: solo-rekd list)")
    net = {"metavar": "NAME"}
    add(
        "--student",
        default="alexnet",
        **net,
        help="network that every arm trains. Default: %(default)s",
    )
    add("--teacher", default="resnet50", **net, help="network to learn from. Default: %(default)s")
    stem = f"first layers; auto: small up to {SMALL_IMAGE} px. Default: auto"
    add("--stem", choices=STEMS, default="auto", help=f"the student's {stem}")
    add("--teacher_stem", choices=STEMS, default="auto", help=f"the teacher's {stem}")
    add(
        "--teacher_checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the frozen teacher, in any format of solo-rekd list. Default: train it",
    )
    sees = {"nargs": "+", "metavar": "X", "default": AUTO}
    told = "normalise the teacher's images. Default: auto, those that the file was trained with"
    add("--teacher_mean", **sees, help=f"channel means that {told}")
    add("--teacher_std", **sees, help=f"channel standard deviations that {told}")
    add(
        "--teacher_size",
        type=parse_side,
        default=AUTO,
        metavar="N",
        help="side to which the teacher's views are resized [px]; native: the side that the file "
        "was trained at. Default: auto, not resized",
    )
    add(
        "--student_checkpoint",
        type=Path,
        metavar="FILE",
        help=f"{STUDENT_CHECKPOINT}. Default: random weights",
    )
    add("--teacher_epochs", **whole, help="length of the teacher's training. Default: --epochs")

    add = group("comparison")
    add(
        "--methods",
        default="untrained,mocov2plus,simclr,rekd",
        metavar="ARM,ARM,...",
        help="arms to compare, see below. Default: %(default)s",
    )
    add("--seeds", type=count, default=1, metavar="N", help="runs per arm. Default: 1")
    add(
        "--first_seed",
        type=at_least(int, 0),
        default=0,
        metavar="N",
        help="seed of each arm's first run, so that machines can share the seeds. "
        "Default: %(default)s",
    )
    add("--host", metavar="HOST", help=HOST_HELP)
    add("--title", default="Comparison", help="title of the report. Default: %(default)s")
    add(
        "--judge_by",
        choices=JUDGES,
        default=JUDGE,
        help="accuracy that the report ranks by; few_label: with 3 labels per class. "
        "Default: %(default)s",
    )

    add = group("pretraining, the same for every arm")
    add("--epochs", **whole, default=100, help="length of every run. Default: %(default)s")
    add("--batch_size", **whole, default=256, help="images per step. Default: %(default)s")
    add(
        "--lr",
        **real,
        default=0.3,
        help="learning rate of SGD for a batch of 256. Default: %(default)s",
    )
    add("--weight_decay", **real, default=1e-4, help="L2 penalty. Default: %(default)s")
    add(
        "--queue_size",
        type=count_or_auto,
        metavar="N",
        default=AUTO,
        help="length of the queue [keys]. Default: auto, by the number of training images, in "
        "whole batches",
    )

    add = group("evaluation")
    add(
        "--linear_epochs",
        **whole,
        default=100,
        help="length of the host's linear evaluation. Default: %(default)s",
    )
    add(
        "--linear_lr",
        **real,
        default=0.1,
        help="learning rate of the host's linear evaluation. Default: %(default)s",
    )
    add("--knn_k", **whole, default=KNN_K, help="number of neighbours. Default: %(default)s")
    votes: dict[str, Any] = {"type": at_least(float, KNN_LIMITS["temperature"][0]), "metavar": "X"}
    add(
        "--knn_temperature",
        **votes,
        default=KNN_TEMPERATURE,
        help="temperature of the votes. Default: %(default)s",
    )

    add = group("work")
    add_speed_flags(add)
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the runs and the report")
    add(
        "--jobs",
        **whole,
        help="runs at a time; they are spread over the GPUs where there are any. Default: 1, with "
        "slurm all",
    )
    add(
        "--launcher",
        choices=LAUNCHERS,
        default=PROCESSES,
        help="processes: on this machine; slurm: jobs of a cluster whose machines all see DIR; "
        "local: the same jobs on this machine, to try it. Default: %(default)s",
    )
    add(
        "--slurm",
        type=read_parameter,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters of each job: timeout_min, mem_gb, cpus_per_task, gpus_per_node, and "
        "sbatch's, such as partition or account. Default: timeout_min=1440 gpus_per_node=0",
    )
    add(
        "--num_workers",
        type=at_least(int, 0),
        metavar="N",
        default=2,
        help="processes per run that load images; threads of DALI. Default: %(default)s",
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
        help="load the images with NVIDIA DALI on this device, with the host's augmentation; "
        "without a GPU on the CPU. Default: load them with torchvision",
    )


def make_parser() -> argparse.ArgumentParser:
    """Makes a parser with only the options."""
    parser = OneLineParser(prog="solo-rekd compare", allow_abbrev=False)
    add_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Compares; `args.words` is the command line, which the report shows as typed."""
    from solo_rekd.compare.main import main as compare

    compare(args.words)


def read_options(argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Reads the command line.

    Args:
        argv: words after `solo-rekd compare`.

    Returns:
        The options, and the host's flags after a bare `--`.

    Raises:
        UserError: an option is unknown or missing, or its value is not allowed.
    """
    cut = argv.index("--") if "--" in argv else len(argv)
    # another bare -- would turn the flags after it into values
    extra = tuple(word for word in argv[cut:] if word != "--")
    return make_parser().parse_args(argv[:cut]), extra
