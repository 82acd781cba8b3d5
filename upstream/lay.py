"""Lays ReKD over a checkout of solo-learn's main branch: new files, and the lines that name them.

Usage: python upstream/lay.py CHECKOUT

Run again it changes nothing. A folder that is not such a checkout is refused before anything is
written. Needs the standard library only.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TREES = ("solo", "scripts", "docs", "tests")

# What the new files need of the host, besides the files that gain a line.
NEEDED = (
    "main_pretrain.py",
    "solo/args/pretrain.py",
    "solo/losses/mocov2plus.py",
    "solo/methods/base.py",
    "solo/utils/misc.py",
    "solo/utils/momentum.py",
    "tests/methods/utils.py",
    *(f"scripts/pretrain/{name}/augmentations" for name in ("cifar", "imagenet-100", "imagenet")),
    "scripts/pretrain/custom/augmentations/symmetric.yaml",
)


class Line(NamedTuple):
    """A line for an existing file, before the first entry of its list that sorts after it."""

    file: str
    text: str
    entry: str  # pattern of the list's entries; its group is what they are sorted by


LINES = (
    Line(
        "solo/losses/__init__.py",
        "from solo.losses.rekd import rekd_loss_func",
        r"from solo\.losses\.(\w+) import \w+",
    ),
    Line("solo/losses/__init__.py", '    "rekd_loss_func",', r'    "(\w+)",'),
    Line(
        "solo/methods/__init__.py",
        "from solo.methods.rekd import ReKD",
        r"from solo\.methods\.(\w+) import \w+",
    ),
    Line("solo/methods/__init__.py", '    "rekd": ReKD,', r'    "(\w+)": \w+,'),
    Line("solo/methods/__init__.py", '    "ReKD",', r'    "(\w+)",'),
    Line("docs/source/index.rst", "   solo/methods/rekd", r"   solo/methods/(\w+)"),
    Line("docs/source/index.rst", "   solo/losses/rekd", r"   solo/losses/(\w+)"),
    Line(
        "docs/source/start/available.rst",
        "* `ReKD <https://arxiv.org/abs/2112.04174>`_",
        r"\* `([^<`]+) <https://arxiv\.org/.*",
    ),
    Line(
        "README.md",
        "* [ReKD](https://arxiv.org/abs/2112.04174)",
        r"\* \[([^\]]+)\]\(https://(?:arxiv\.org|openaccess)[^)]*\)",
    ),
)


class NotTheHost(Exception):
    """The folder is not a checkout of the current host."""


def with_line(text: str, line: Line) -> str:
    """Returns `text` with the line in its place; as it was, if it has the line already."""
    lines = text.splitlines(keepends=True)
    found = [re.fullmatch(line.entry, old.rstrip("\n")) for old in lines]
    if line.text in (match.string for match in found if match):
        return text
    entries = [(at, match[1].lower()) for at, match in enumerate(found) if match]
    if not entries:
        raise NotTheHost(f"{line.file} has no line like {line.text.strip()!r}")
    own = re.fullmatch(line.entry, line.text)
    assert own is not None
    place = next((at for at, key in entries if key > own[1].lower()), entries[-1][0] + 1)
    lines.insert(place, line.text + "\n")
    return "".join(lines)


def edits(checkout: Path) -> dict[Path, str]:
    """Finds what laying changes: the new content of each file that differs.

    Args:
        checkout: root of a checkout of solo-learn's main branch.

    Raises:
        NotTheHost: a file that is needed is missing, or has no such list.
    """
    for name in (*NEEDED, *(line.file for line in LINES)):
        if not (checkout / name).exists():
            raise NotTheHost(f"{name} is missing")
    new = {}
    for tree in TREES:
        for source in sorted((HERE / tree).rglob("*")):
            if source.suffix in (".py", ".yaml", ".rst"):
                new[checkout / source.relative_to(HERE)] = source.read_text(encoding="utf-8")
    for line in LINES:
        path = checkout / line.file
        new[path] = with_line(new.get(path) or path.read_text(encoding="utf-8"), line)
    return {
        path: text
        for path, text in new.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main(argv: list[str]) -> int:
    """Lays the files over the checkout that `argv` names, and says which have changed."""
    if len(argv) != 1 or not argv[0]:
        usage = "usage: make upstream HOST=PATH, PATH a checkout of solo-learn's main branch"
        print(usage, file=sys.stderr)
        return 2
    checkout = Path(argv[0])
    try:
        changes = edits(checkout)
        for path, text in changes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except NotTheHost as error:
        print(
            f"upstream: error: {checkout} is not a checkout of solo-learn's main branch: {error}",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(f"upstream: error: {error}", file=sys.stderr)
        return 2
    for path in changes:
        print(path)
    print(f"{len(changes)} files changed" if changes else "nothing to change")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
