"""The README, the guides and the pages of docs: their blocks of code, headings and links."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from solo_rekd.cli import COMMANDS

ROOT = Path(__file__).parents[2]
GUIDES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md", "upstream/README.md")
DOCUMENTS = [str(path.relative_to(ROOT)) for name in GUIDES for path in sorted(ROOT.glob(name))]
SHELL, PYTHON, NO_CODE = ("", "bash"), ("python",), ("text",)
FENCE = re.compile(r"^ *(`{3,})(\w*).*?\n(.*?)^ *\1", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?: \"[^\"]*\")?\)")
# Commands that the pages name already; each is checked as soon as the package has it.
COMING = ("distil", "embed", "doctor")


class Block(NamedTuple):
    """A fenced block of code.

    Attributes:
        kind: the language that its fence names.
        text: its lines.
        reason: why it is an illustration that is not run; empty: it is run.
    """

    kind: str
    text: str
    reason: str


def all_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text; `<!-- not run: REASON -->` stands before one that is not run."""
    found = []
    for fence in FENCE.finditer(text):
        mark = NOT_RUN.search(text[: fence.start()])
        found.append(Block(fence[2], fence[3], mark[1].strip() if mark else ""))
    return found


def blocks(document: str, kinds: tuple[str, ...] = SHELL) -> list[str]:
    """The blocks of a document that are run, in their order."""
    found = all_blocks((ROOT / document).read_text(encoding="utf-8"))
    return [block.text for block in found if block.kind in kinds and not block.reason]


def prose(text: str) -> str:
    """A text without its blocks of code."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """What a link can name in a page: its headings, as GitHub writes them, and given ids."""
    found: list[str] = []
    for heading in HEADING.findall(prose(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return {*found, *re.findall(r'<a (?:id|name)="([^"]+)"', text)}


def links(text: str) -> list[str]:
    """The targets of a text's links and pictures."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", prose(text)))


def is_coming(words: Sequence[str]) -> bool:
    """Whether the words after `solo-rekd` are of a command that the package has not yet."""
    return words[0] in COMING and words[0] not in COMMANDS
