"""The command `solo-rekd`."""

import logging
import os
import runpy
import sys
from collections.abc import Callable

from solo_rekd import __version__, hosts
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.errors import OneLineParser, UserError, nearest_first, refuse, report

USAGE = """usage: solo-rekd COMMAND ...

  demo             compare three methods on a small embedded data set, in minutes
  compare OPTIONS  compare methods on your images, under one budget (solo-rekd compare --help)
  pretrain FLAGS   pretrain (the flags of the host's main_pretrain.py, --seed, --stem)
  linear FLAGS     linear evaluation (the flags of main_linear.py, --seed, --stem)
  knn FLAGS        k-nearest-neighbour evaluation (solo-rekd knn --help)
  export CKPT OUT  the student alone, to deploy: .safetensors or .onnx (solo-rekd export --help)
  run SCRIPT ...   run a script of the host with the plug-in active
  list             methods, students, teachers and teacher formats

`solo-rekd pretrain --method rekd --help` shows every flag of the method.
"""


# what each command says of itself where it need not, or cannot, ask the host
HELP = {
    "pretrain": """usage: solo-rekd pretrain --method NAME FLAGS

Pretrains with solo-learn 1.0.2: the flags are those of its main_pretrain.py, and --seed, --stem.
`solo-rekd pretrain --method NAME --help` shows every flag of a method; `solo-rekd list` shows the
names of methods, students and teachers.
""",
    "linear": """usage: solo-rekd linear --pretrained_feature_extractor FILE FLAGS

Evaluates a checkpoint linearly with solo-learn 1.0.2: the flags are those of its main_linear.py,
and --seed, --stem. With that solo-learn installed, this help shows every flag.
""",
    "knn": """usage: solo-rekd knn --pretrained_feature_extractor FILE --encoder NAME FLAGS

Evaluates a checkpoint by its nearest neighbours, with the data flags of solo-learn 1.0.2, --k and
--temperature. With that solo-learn installed, this help shows every flag.
""",
    "run": """usage: solo-rekd run SCRIPT ...

Runs a script of solo-learn, such as main_pretrain.py, as `python SCRIPT ...` does, with the plug-in
active. What follows the script is its own: `solo-rekd run SCRIPT --help` shows the script's help.
""",
    "list": """usage: solo-rekd list

Lists the names of methods, students, teachers and teacher checkpoints that the flags accept.
""",
}


def wants_help(argv: list[str]) -> bool:
    """Whether a command line asks for help."""
    return not {"-h", "--help"}.isdisjoint(argv)


def has_classic_host() -> bool:
    """Whether the solo-learn that is installed has a help of its own for our commands."""
    try:
        return hosts.detect() == "classic"
    except UserError:
        return False


def shows_help(command: str, argv: list[str]) -> bool:
    """Prints the help of `command` if `argv` asks for it and neither host nor parser has one.

    Args:
        command: its name.
        argv: what follows it.

    Returns:
        Whether it did, so that nothing is left to do.
    """
    if command not in HELP or not wants_help(argv):
        return False
    if command == "run" and not wants_help(argv[:1]):  # it is the script's
        return False
    of_method = command == "pretrain" and any(word.startswith("--method") for word in argv)
    if (of_method or command in ("linear", "knn")) and has_classic_host():
        return False
    print(HELP[command], end="")
    return True


def demo(argv: list[str]) -> None:
    """Runs the demo."""
    from solo_rekd.demo import main as run_demo

    run_demo(argv)


def compare(argv: list[str]) -> None:
    """Compares methods on one image folder."""
    from solo_rekd.compare.main import main as run_compare

    run_compare(argv)


def pretrain(argv: list[str]) -> None:
    """Pretrains, and says what it took and the means of the last epoch."""
    result = hosts.commands().pretrain(argv)
    print(
        f"pretrained in {result['seconds']:.0f} s, {result['images_per_second']:.0f} images/s; "
        f"checkpoint: {result['checkpoint'] or 'none (add --save_checkpoint)'}"
    )
    for name, value in result["metrics"].items():
        if name.endswith("_epoch"):
            print(f"  {name.removesuffix('_epoch'):<28}{value:.4f}")


def linear(argv: list[str]) -> None:
    """Evaluates linearly and prints the figures with their protocol."""
    print_accuracy("linear", hosts.commands().linear(argv))


def knn(argv: list[str]) -> None:
    """Evaluates by nearest neighbours and prints the figures with their protocol."""
    print_accuracy("kNN", hosts.commands().knn(argv))


def export(argv: list[str]) -> None:
    """Writes the student alone."""
    from solo_rekd.export import main as run_export

    run_export(argv)


def print_accuracy(name: str, result: dict) -> None:
    """Prints one evaluation."""
    print(f"{name} top-1 {result['top1']:.2f}, top-5 {result['top5']:.2f} ({result['protocol']})")


def run(argv: list[str]) -> None:
    """Runs a host script as `python SCRIPT ...` does, with the plug-in active."""
    if not argv or not os.path.isfile(argv[0]):
        raise refuse("run", argv[0] if argv else "", "the path of a script of the host")
    # Lightning starts the other processes of DDP as `python SCRIPT ...`: they need the hook
    os.environ["SOLO_REKD_AUTOLOAD"] = "1"
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
    hosts.activate()
    runpy.run_path(argv[0], run_name="__main__")


def show_lists(argv: list[str]) -> None:
    """Prints every name that the flags accept."""
    OneLineParser(prog="solo-rekd list", add_help=False).parse_args(argv)
    from solo_rekd.backbones import HOST_NAMES, STUDENTS, TEACHERS
    from solo_rekd.checkpoints import FORMATS
    from solo_rekd.objectives import OBJECTIVES

    print("methods:  ", ", ".join(OBJECTIVES), "(and every method of the host)")
    print("students: ", ", ".join(STUDENTS), "(and every encoder of the host, timm:NAME)")
    print("teachers: ", ", ".join([*HOST_NAMES, *TEACHERS, *STUDENTS]), "(and timm:NAME)")
    print("teacher checkpoints:")
    for entry in FORMATS:
        print(f"  {entry.name:<22}{entry.description}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "compare": compare,
    "pretrain": pretrain,
    "linear": linear,
    "knn": knn,
    "export": export,
    "run": run,
    "list": show_lists,
}


def main() -> None:
    """Entry point of `solo-rekd`."""
    logging.basicConfig(format="%(message)s")
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # no ± in ASCII
    logging.getLogger("solo_rekd").setLevel(logging.INFO)
    command, argv = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if command in ("-h", "--help"):
        print(USAGE)
        return
    if command == "--version":
        print(f"solo-rekd {__version__}")
        return
    try:
        if command not in COMMANDS:
            raise refuse("command", command, nearest_first(command, list(COMMANDS)))
        if not shows_help(command, argv):
            COMMANDS[command](argv)
    except UserError as error:
        sys.exit(report(error))
    except OSError as error:
        error.filename = error.filename or command
        mistake = as_mistake(error)
        if command == "run" or mistake is None:  # a script's errors are its own
            raise
        sys.exit(report(mistake))
    except KeyboardInterrupt:
        sys.exit(130)
