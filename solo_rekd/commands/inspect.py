"""`solo-rekd inspect`: what a weights file contains, and how to use it."""

import argparse
import json
import logging
import shlex
from pathlib import Path
from typing import Any

from solo_rekd.config import AUTO, HUGGING_FACE, ONNX, TEACHER_STEMS
from solo_rekd.utils.errors import UserError, at_least, one_line

DESCRIPTION = (
    "Shows what a weights file contains: its format, architecture, embedding, head, stem and "
    "pooling, how its images were preprocessed, which tensors are used, and the flags to type."
)
SHOWN = 8  # keys of one kind, at most
GUESSES = ("all of its tensors", "its blocks and widths")  # which another network may share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.description = DESCRIPTION
    parser.add_argument("file", type=Path, help="weights file, or a folder from Hugging Face")
    parser.add_argument(
        "--teacher",
        metavar="NAME",
        help="backbone to try, as in solo-rekd list. Default: guessed from the file",
    )
    parser.add_argument(
        "--teacher_stem",
        choices=TEACHER_STEMS,
        default=AUTO,
        help="its first layers. Default: auto, those its weights were trained with",
    )
    parser.add_argument(
        "--crop_size",
        type=at_least(int, 1),
        metavar="N",
        help="side of its images [px]. Default: that of its training, or 224",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def main(args: argparse.Namespace) -> None:
    """Prints what is known about the file.

    Raises:
        UserError: the file cannot be read, or is in no known format; or it does not hold the
            backbone asked for.
    """
    logging.getLogger("solo_rekd").setLevel(logging.WARNING)  # hides the log of what is tried
    facts = inspect(args.file, args.teacher, args.crop_size, args.teacher_stem)
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))


def inspect(
    path: Path, name: str | None = None, size: int | None = None, stem: str = AUTO
) -> dict[str, Any]:
    """Finds out what a file contains.

    Args:
        path: path of the file, or of a folder from Hugging Face.
        name: backbone to try; None: guessed from the file.
        size: side of its images, in px; None: that of its training, or 224.
        stem: its first layers, as in `build_backbone`.

    Returns:
        The facts as JSON can hold them: see `Facts`, with `architecture_told_by`,
        `embedding_dim`, `problem`, `same_tensors`, `needs_code` and `flags`.

    Raises:
        UserError: see `main`.
    """
    from solo_rekd.checkpoints.load import read_networks
    from solo_rekd.checkpoints.named import twins_of
    from solo_rekd.checkpoints.projector import widths
    from solo_rekd.images.data_sets import LARGE_IMAGE

    told = "as asked"
    known: dict[str, Any] = {"path": str(path)}
    if name is None:
        name, told, known = guess(path)
    if name is None:
        return known | {
            "architecture": None,
            "problem": "the architecture is unknown: give --teacher NAME (solo-rekd list)",
            "flags": None,
        }
    size = size or known.get("size") or None
    try:
        loaded = read_networks(path, name, size, stem)
    except UserError as error:
        if size is None and "the size it was trained at is not recorded" in str(error):
            return inspect(path, name, LARGE_IMAGE, stem) | {"architecture_told_by": told}
        if told == "as asked":
            raise
        problem = str(error).partition(": ")[2] or str(error)
        return known | {"architecture": name, "problem": problem, "flags": None}
    projector = loaded.projector
    facts = known | loaded.facts.as_dict()
    width = facts["num_features"] if projector is None else widths(projector)[1]
    return facts | {
        "architecture_told_by": told,
        "same_tensors": twins_of(name) if told in GUESSES else [],
        "embedding_dim": width,
        "needs_code": bool(facts["inert"]),
        "problem": None,
        "flags": flags(path, name, stem, width),
    }


def guess(path: Path) -> tuple[str | None, str, dict[str, Any]]:
    """Guesses the network: its name, the evidence for that, and what is known without it."""
    from solo_rekd.checkpoints.guess import guess_architecture
    from solo_rekd.checkpoints.outside.huggingface import is_folder, weights_of
    from solo_rekd.checkpoints.read import read_file
    from solo_rekd.checkpoints.split import split_state_dict

    if path.suffix.lower() == ".onnx":
        return ONNX, "the ending of its name", {"path": str(path)}
    file = path
    if is_folder(path):
        files = weights_of(path)
        if len(files) != 1:
            return HUGGING_FACE, "its config.json", {"path": str(path)}
        file = files[0]
    read = read_file(file)
    split = split_state_dict(read.content)
    known = {
        "path": str(path),
        "sha256": read.sha256,
        "kind": read.kind,
        "format": split.format,
        "naming": split.naming,
        "inert": list(read.inert),
        "needs_code": bool(read.inert),
        "tensors": len(split.backbone),
    }
    found = guess_architecture(file, read.content, split.backbone)
    if found is None and file != path:
        return HUGGING_FACE, "its config.json", known
    return (*found, known) if found else (None, "", known)


def flags(path: Path, name: str, stem: str, width: int) -> str:
    """Returns the flags that make the file a frozen teacher for any of our methods.

    Args:
        path: path of the file.
        name: name of its backbone.
        stem: stem that was asked for.
        width: width of its embedding.
    """
    words = ["--teacher", name, "--teacher_mode", "frozen", "--teacher_checkpoint", str(path)]
    words += ["--proj_output_dim", str(width)]
    if stem != AUTO:
        words += ["--teacher_stem", stem]
    return shlex.join(words)


def as_text(facts: dict[str, Any]) -> str:
    """Writes the facts as lines of text."""
    seen = facts.get("preprocessing") or {}
    mean, std = (seen.get(name) for name in ("mean", "std"))
    colours = "mean and std unknown: the student's are used"
    if mean and std:
        colours = f"mean {_numbers(mean)}, std {_numbers(std)} ({seen['source']})"
    head = facts.get("head") or "none: the pooled features are the embedding"
    if facts.get("head") and facts["activation"] != "none":
        head += f", {facts['activation']}" + ("" if facts["activation_known"] else ", a guess")
    code = "not needed"
    if facts.get("inert"):
        code = f"not run; the file refers to {_some(facts['inert'])}"
    lines: dict[str, Any] = {
        "file": facts["path"],
        "SHA-256": facts.get("sha256"),
        "format": _with(facts.get("format"), _other(facts), "names of"),
        "code": code,
        "architecture": _with(facts.get("architecture"), facts.get("architecture_told_by"), "by"),
    }
    if facts["problem"] is None:
        lines |= {
            "features": f"{facts['num_features']}, {facts['pooling']}",
            "head": head,
            "embedding": facts["embedding_dim"],
            "stem": "timm's own" if facts["stem"] == AUTO else facts["stem"],
            "images": f"{colours}; {seen.get('size') or 'unknown'} px",
            "tensors": _tensors(facts),
            "resized": ", ".join(facts["resized"]) or None,
        }
    if facts.get("same_tensors"):
        lines["or"] = f"{_some(facts['same_tensors'])}, which have the same keys: see --teacher"
    lines |= {f"doubt {i}": doubt for i, doubt in enumerate(facts.get("doubts") or (), 1)}
    lines |= {"problem": facts["problem"], "use": facts["flags"]}
    told = {name: one_line(str(value)) for name, value in lines.items() if value}
    return "\n".join(f"{name + ':':<14}{value}" for name, value in told.items())


def _other(facts: dict[str, Any]) -> str | None:
    """Returns the library whose names were translated, where it is not the format itself."""
    return facts["naming"] if facts.get("naming") != facts.get("format") else None


def _tensors(facts: dict[str, Any]) -> str | None:
    if not facts["matched"]:
        return None  # an ONNX program names none
    left = facts["left_out"]
    return f"{facts['matched']} matched, {len(left)} left out" + (
        f": {_some(left)}" if left else ""
    )


def _with(first: Any, second: Any, word: str) -> str | None:
    return f"{first} ({word} {second})" if first and second else first


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
